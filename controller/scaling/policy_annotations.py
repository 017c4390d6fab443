"""What teams say of their schedule on a namespace or a workload: annotations ``wattledger.io/schedule-...``.

Owns their names and their form. One that is not understood, or whose name is not known, makes the whole object unclear:
a misspelt ``exclude`` must never put something down.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Final, TypeVar

from controller.scaling import downscaler_words
from controller.scaling.annotation_values import flag_of, read_flag, read_moment, read_number, read_seconds, read_size
from controller.scaling.down_times import DownTimes, Timeline
from controller.scaling.record import COMMAND, RECORD
from controller.scaling.said import NOTHING_SAID, Force, Said, Timed
from controller.time_windows import SpecRefused, known_zone, parse

PREFIX: Final = "wattledger.io/schedule-"
DOWN = PREFIX + "down"
UP = PREFIX + "up"
TO = PREFIX + "to"
EXCLUDE = PREFIX + "exclude"
EXCLUDE_UNTIL = PREFIX + "exclude-until"
FORCE = PREFIX + "force"
TIMEZONE = PREFIX + "timezone"
GRACE = PREFIX + "grace"
PRIORITY = PREFIX + "priority"
ALLOW_STATE_LOSS = PREFIX + "allow-state-loss"

KNOWN = {
    DOWN: "Windows in which it is down, such as `Mon-Fri 20:00-07:00, Sat-Sun`.",
    UP: "Windows outside which it is down. Either this or `down`.",
    TO: "How far down: replicas such as `1`, or a part of the original such as `50%`. Else 0.",
    EXCLUDE: "`true`: never scaled. Windows: not scaled inside them. `false`: undoes what namespace and policy say.",
    EXCLUDE_UNTIL: "Not scaled until a date begins, or a moment such as `2026-12-25 18:00 Europe/Berlin`.",
    FORCE: "`up` or `down` against all windows; `up Sat-Sun` inside those. `none` undoes that of namespace and policy.",
    TIMEZONE: "IANA zone of what names none.",
    GRACE: "Not put down within so long after it was made: `15m`, `1h30m`, or seconds.",
    PRIORITY: "Restores of higher ones come first; -1000 to 1000.",
    ALLOW_STATE_LOSS: "`true`: may go down although it would lose state. On workloads only.",
}
"""Every annotation that people may set, with what it says."""
_OURS = frozenset({RECORD, COMMAND})
_WORKLOADS_ONLY = frozenset({ALLOW_STATE_LOSS})
_BOUND = 1000
_Value = TypeVar("_Value")


def read_annotations(
    annotations: Mapping[str, str], zone: str, *, on_namespace: bool = False, downscaler: bool = True
) -> Said:
    """What an object's annotations say.

    Args:
        annotations: of the object.
        zone: IANA name, of what names none.
        on_namespace: it is a namespace.
        downscaler: read ``downscaler/*`` too.
    """
    if not annotations:  # as of most, and each is asked at every look
        return NOTHING_SAID
    said = tuple(
        sorted(
            (key, value)
            for key, value in annotations.items()
            if (key.startswith(PREFIX) and key not in _OURS) or (downscaler and key in downscaler_words.KNOWN)
        )
    )
    return _read(said, zone, on_namespace) if said else NOTHING_SAID


@lru_cache(maxsize=16_384)
def _read(annotations: tuple[tuple[str, str], ...], zone: str, on_namespace: bool) -> Said:  # noqa: FBT001  (hashable)
    ours = {key: value for key, value in annotations if key.startswith(PREFIX)}
    theirs = {key: value for key, value in annotations if not key.startswith(PREFIX)}
    read = _Reading(ours, zone, on_namespace=on_namespace)
    said = read.said()
    if not theirs:
        return said
    below, keys = downscaler_words.read(theirs, said.timezone or zone)
    return said.above(below, keys)


class _Reading:
    """One object's own annotations, topic by topic."""

    def __init__(self, annotations: Mapping[str, str], zone: str, *, on_namespace: bool) -> None:
        self._annotations = annotations
        self._on_namespace = on_namespace
        self._unclear: list[str] = []
        self._names()
        self._timezone = self._one(TIMEZONE, lambda text: known_zone(text).key)
        self._zone = self._timezone or zone

    def said(self) -> Said:
        said = Said(
            times=self._times(),
            exclude=self._one(EXCLUDE, self._exclude),
            exclude_until=self._one(EXCLUDE_UNTIL, lambda text: read_moment(text, known_zone(self._zone))),
            forces=self._one(FORCE, self._forces),
            size=self._one(TO, read_size),
            grace_seconds=self._one(GRACE, read_seconds),
            timezone=self._timezone,
            priority=self._one(PRIORITY, lambda text: read_number(text, -_BOUND, _BOUND)),
            allow_state_loss=self._one(ALLOW_STATE_LOSS, read_flag),
        )
        return replace(said, unclear=tuple(self._unclear))

    def _names(self) -> None:
        for key in self._annotations:
            if key not in KNOWN:
                close = difflib.get_close_matches(key, KNOWN, n=1)
                hint = f"did you mean {close[0]}? " if close else ""
                known = ", ".join(name.removeprefix(PREFIX) for name in KNOWN)
                self._unclear.append(f"{key}: there is no such annotation; {hint}known after {PREFIX}: {known}")
            elif self._on_namespace and key in _WORKLOADS_ONLY:
                self._unclear.append(
                    f"{key}: has to stand on the workload itself, it is never said of a whole namespace"
                )

    def _one(self, key: str, read: Callable[[str], _Value]) -> _Value | None:
        text = self._annotations.get(key)
        if text is None:
            return None
        try:
            return read(text)
        except SpecRefused as refused:
            self._unclear.append(f"{key}: {refused}")
            return None

    def _times(self) -> Timed | None:
        if DOWN in self._annotations and UP in self._annotations:
            self._unclear.append(f"{DOWN}: stands beside {UP}; keep one of them")
            return None
        down = self._one(DOWN, lambda text: DownTimes(down=parse(text, self._zone)))
        if down is not None:
            return Timed(Timeline(down), f"down {self._annotations[DOWN]}", (DOWN,))
        up = self._one(UP, lambda text: DownTimes(up=parse(text, self._zone)))
        return None if up is None else Timed(Timeline(up), f"up {self._annotations[UP]}", (UP,))

    def _exclude(self, text: str) -> Timed:
        flag = flag_of(text)
        windows = parse(text, self._zone) if flag is None else parse("always" if flag else "never")
        return Timed(Timeline(DownTimes(down=windows)), text.strip(), (EXCLUDE,))

    def _forces(self, text: str) -> tuple[Force, ...]:
        direction, _, spec = text.strip().partition(" ")
        if text.strip() == "none":
            return ()
        if direction not in {"up", "down"}:
            raise SpecRefused(text, 0, len(text), f"{text!r} is neither up, down nor none")
        windows = parse(spec, self._zone) if spec.strip() else parse("always")
        timed = Timed(Timeline(DownTimes(down=windows)), text.strip(), (FORCE,))
        return (Force("up" if direction == "up" else "down", timed),)
