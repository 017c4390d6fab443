"""Follows the schedules of the configuration's file while the controller runs; a mistake leaves the last good ones.

Owns when the file is read again, and which keys follow it. What a start would refuse is refused here in the same words,
whatever section it is in. Each look compares the content as it stands with what was judged last, so that neither links
nor times matter, and nothing hangs on seeing one particular change. What is found counts once it stands so at the next
look as well: a file that is being written, or swapped, may for a moment be half of itself and still be well formed.
"""

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from collectors.errors import Misconfigured
from controller.scaling.schedule_settings import SchedulePolicy, ScheduleSettings

_log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
"""Between two looks at the file."""
FOLLOWED = (
    "dry_run",
    "timezone",
    "changes_per_minute",
    "changes_per_run",
    "protected_namespaces",
    "annotations",
    "policies",
)
"""Keys of ``schedule`` that take effect in a controller that runs; all others at its next start."""

_MARKED = re.compile(r"\n  [^\n]*\n +\^+")
_Sight = bytes | str
"""The file's content; or, as text, why it cannot be read."""


class Follower(Protocol):
    """Scales by settings."""

    def adopt(self, settings: ScheduleSettings, *, refused: bool) -> None:
        """Be in force from the next look on; ``refused``: the file asks for something else that cannot be taken."""
        ...


class PolicySource:
    """The file, looked at again and again by one thread.

    Args:
        file: that the configuration was read from.
        settings: in force since the start.
        read: the settings that a content of the file makes; raises ``Misconfigured``.
        follower: is told of every change.
    """

    def __init__(
        self, file: Path, settings: ScheduleSettings, read: Callable[[bytes], ScheduleSettings], follower: Follower
    ) -> None:
        self._file = file
        self._started = self._settings = settings
        self._read = read
        self._follower = follower
        self._seen: _Sight | None = None
        self._judged: _Sight | None = None
        self._refused = False
        self._waiting: Mapping[str, object] = {}
        """Changed keys that wait for a start, and what they are to be."""

    def look(self) -> None:
        """See whether the file has changed, and take what it says once that has stood for two looks."""
        sight = _content(self._file)
        if sight != self._seen:
            self._seen = sight
        elif sight != self._judged:
            self._judge(sight)
            self._judged = sight

    def _judge(self, sight: _Sight) -> None:
        if isinstance(sight, str):
            self._refuse(sight)
            return
        try:
            read = self._read(sight)
        except Misconfigured as error:
            self._refuse(str(error))
        else:
            self._take(read)

    def _refuse(self, why: str) -> None:
        _log.warning("schedules stay as they were, for what stands in the configuration is refused: %s", _line(why))
        self._refused = True
        self._follower.adopt(self._settings, refused=True)

    def _take(self, read: ScheduleSettings) -> None:
        changed = _different(self._settings, read, FOLLOWED)
        if changed:
            told = ", ".join(_told(key, self._settings, read) for key in changed)
            _log.info("%s: in force from now on: %s", self._file, told)
        elif self._refused:
            _log.info("%s: is good again, and schedules are as they were", self._file)
        self._tell_waiting(read)
        self._refused = False
        self._settings = self._started.model_copy(update={key: getattr(read, key) for key in FOLLOWED})
        self._follower.adopt(self._settings, refused=False)

    def _tell_waiting(self, read: ScheduleSettings) -> None:
        """Say, once for each change, what takes effect at a start alone."""
        others = tuple(key for key in ScheduleSettings.model_fields if key not in FOLLOWED)
        waiting = {key: getattr(read, key) for key in _different(self._started, read, others)}
        for key, value in waiting.items():
            if self._waiting.get(key) != value:
                running = getattr(self._started, key)
                _log.warning(
                    "%s: schedule.%s is now %s, and stays %s until the controller is started again",
                    self._file,
                    key,
                    value,
                    running,
                )
        self._waiting = waiting


def _content(file: Path) -> _Sight:
    try:
        return file.read_bytes()
    except OSError as error:
        return f"{file}: cannot be read ({error.strerror}); put a readable YAML file there"


def _line(message: str) -> str:
    """On one line: without the picture that marks the place in a window, which the words name too."""
    return " ".join(_MARKED.sub("", message).split())


def _different(one: ScheduleSettings, other: ScheduleSettings, keys: tuple[str, ...]) -> list[str]:
    return [key for key in keys if getattr(one, key) != getattr(other, key)]


def _told(key: str, was: ScheduleSettings, read: ScheduleSettings) -> str:
    """A changed key for people; of policies, which ones."""
    if key != "policies":
        return f"schedule.{key}"
    before, after = _by_name(was), _by_name(read)
    parts = {
        "new": [name for name in after if name not in before],
        "changed": [name for name in after if name in before and before[name] != after[name]],
        "gone": [name for name in before if name not in after],
    }
    words = [f"{word} {', '.join(names)}" for word, names in parts.items() if names]
    return f"schedule.policies ({'; '.join(words) or 'their order'})"


def _by_name(settings: ScheduleSettings) -> Mapping[str, SchedulePolicy]:
    return {policy.name: policy for policy in settings.policies}
