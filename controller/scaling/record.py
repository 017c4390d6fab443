"""What is written onto an object that was put down: all that its restore needs.

Owns the two annotations and their form. The record alone must be enough to bring an object back, by us or by a person;
one that is not understood is never guessed at.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, cast

from controller.scaling.model import Levers, Seen, Value
from controller.scaling.registry import can_stand

RECORD = "wattledger.io/schedule-original"
COMMAND = "wattledger.io/schedule-restore-command"
_FORM = 1
_MOST = 2**31 - 1
"""The API server knows no count above it."""


ENDLESS_COUNTS_FOR: Final = timedelta(days=1)
"""What was done in a window without a begin, such as ``always``, is of the same window for so long."""


def is_of_window(window: datetime | None, at: datetime, wished: datetime | None, now: datetime) -> bool:
    """Whether what was done at a time, for a window that began then, counts in the one that is wished now."""
    return window == wished and (window is not None or now - at <= ENDLESS_COUNTS_FOR)


class BrokenRecord(ValueError):  # noqa: N818  (named for what the object bears)
    """The annotation is not one of ours any more; what stood there originally is not known from it."""


@dataclass(frozen=True, slots=True)
class Record:
    """What was done to one object."""

    kind: str
    was: Levers
    """The levers as they were found: what a restore gives back."""
    put: Levers
    """The levers as they were to be; what differs from both is somebody else's."""
    generation: int
    """Of the object when the record was last decided on; each change of its spec makes a higher one."""
    policy: str
    at: datetime
    """When the down was decided."""
    window: datetime | None
    """When the down's window began."""
    reverts: int = 0
    """How often somebody put it back within this window."""
    restoring: datetime | None = None
    """Since when it is being brought back."""
    due: datetime | None = None
    """When it is to be Ready, once it is being brought back."""
    instance_types: tuple[str, ...] = ()
    """Of the nodes on which its pods ran."""
    stood: Levers | None = None
    """The levers when the record was last decided on; ``None``: as they were found."""

    def write(self) -> str:
        """The annotation's value."""
        said: dict[str, object] = {
            "v": _FORM,
            "kind": self.kind,
            "was": dict(self.was),
            "put": dict(self.put),
            "generation": self.generation,
            "policy": self.policy,
            "at": self.at.isoformat(),
            "window": None if self.window is None else self.window.isoformat(),
            "reverts": self.reverts,
        }
        if self.restoring is not None:
            said["restoring"] = self.restoring.isoformat()
        if self.due is not None:
            said["due"] = self.due.isoformat()
        if self.stood is not None and self.stood != self.was:
            said["stood"] = dict(self.stood)
        if self.instance_types:
            said["instance_types"] = list(self.instance_types)
        return json.dumps(said, separators=(",", ":"))


def record_of(seen: Seen) -> Record | None:
    """The record that an object bears; ``None``: it bears none.

    Raises:
        BrokenRecord: it bears one that does not say, beyond doubt, what the original was.
    """
    written = seen.annotations.get(RECORD)
    return None if written is None else read_record(written, seen)


def read_record(written: str, seen: Seen) -> Record:
    """Read an annotation of an object.

    Raises:
        BrokenRecord: see :func:`record_of`; the message names the object, what is wrong, and what to do.
    """
    try:
        found = _read(_document(written))
    except (TypeError, ValueError, KeyError, OverflowError, RecursionError) as error:
        why = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise BrokenRecord(
            f"{seen.ref}: the annotation {RECORD} is not as it was written ({why}), so what it stood at is not known: "
            f"set it by hand and remove the annotation; the audit table has what was written"
        ) from error
    said = (found.was, found.put, found.stood or found.was)
    if found.kind != seen.ref.kind or not all(_fits(levers, seen.levers) for levers in said):
        raise BrokenRecord(
            f"{seen.ref}: the annotation {RECORD} is of a {found.kind:.60} with the levers {', '.join(found.was):.60}, "
            f"not of this object: set it by hand and remove the annotation"
        )
    if never := next((levers for levers in said if not can_stand(seen.ref.kind, levers)), None):
        raise BrokenRecord(
            f"{seen.ref}: the annotation {RECORD} says {json.dumps(dict(never)):.60}, at which no {seen.ref.kind} "
            f"stands: set it by hand and remove the annotation; the audit table has what was written"
        )
    return found


def _document(written: str) -> Mapping[str, object]:
    said: object = json.loads(written)
    if not isinstance(said, dict):
        raise TypeError("it is no JSON object")
    return cast("Mapping[str, object]", said)


def _fits(levers: Levers, present: Levers) -> bool:
    """Whether they are the same levers, of the same types; absent is of any."""
    return levers.keys() == present.keys() and all(
        value is None or present[name] is None or type(value) is type(present[name]) for name, value in levers.items()
    )


def _read(said: Mapping[str, object]) -> Record:
    if said["v"] != _FORM:
        raise ValueError(f"its form is {said['v']!r:.60}, and {_FORM} is known")
    return Record(
        kind=_text(said, "kind"),
        was=_levers(said, "was"),
        put=_levers(said, "put"),
        generation=_count(said, "generation"),
        policy=_text(said, "policy"),
        at=_moment(said, "at"),
        window=None if said["window"] is None else _moment(said, "window"),
        reverts=_count(said, "reverts"),
        restoring=_moment(said, "restoring") if "restoring" in said else None,
        due=_moment(said, "due") if "due" in said else None,
        instance_types=_names(said, "instance_types"),
        stood=_levers(said, "stood") if "stood" in said else None,
    )


def _names(said: Mapping[str, object], key: str) -> tuple[str, ...]:
    found = said.get(key, [])
    return tuple(str(name) for name in cast("list[object]", found)) if isinstance(found, list) else ()


def _text(said: Mapping[str, object], key: str) -> str:
    found = said[key]
    if not isinstance(found, str):
        raise TypeError(f"{key} is no text")
    return found


def _count(said: Mapping[str, object], key: str) -> int:
    found = said[key]
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise TypeError(f"{key} is no count")
    return found


def _moment(said: Mapping[str, object], key: str) -> datetime:
    found = datetime.fromisoformat(_text(said, key))
    if found.tzinfo is None:
        raise ValueError(f"{key} has no time zone")
    return found.astimezone(UTC)


def _levers(said: Mapping[str, object], key: str) -> dict[str, Value]:
    found = said[key]
    if not isinstance(found, dict) or not found:
        raise TypeError(f"{key} is no set of levers")
    levers = cast("Mapping[str, object]", found)
    for name, value in levers.items():
        if not isinstance(value, int | str | bool | None) or (isinstance(value, int) and not 0 <= value <= _MOST):
            raise TypeError(f"{key}.{name:.60} is {value!r:.60}, which no lever stands at")
    return cast("dict[str, Value]", dict(levers))
