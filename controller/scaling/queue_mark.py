"""What the controller writes onto a ScaledObject that it made, or whose bounds it moved: all that taking it back needs.

Owns the annotation and what follows from it: pure, the same every time. One that is not understood is never guessed at.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, cast

from collectors.kube_json import JsonObject
from controller.scaling.model import Ref, Seen
from controller.scaling.patches import Patch
from controller.scaling.record import RECORD
from ledger.audit import UNDO_SCALER

MARK: Final = "wattledger.io/queue-scaling"
LABEL, OURS = "app.kubernetes.io/managed-by", "wattledger"
"""A ScaledObject without it is somebody else's, whatever else it bears."""
_FORM: Final = 1
_MADE_WITHIN: Final = timedelta(minutes=10)
"""Of what the mark says: a write's wait, and how far two clocks are apart."""
Bounds = tuple[int, int]


class BrokenMark(ValueError):  # noqa: N818  (named for what the object bears)
    """The annotation is not one of ours any more."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What was done to one ScaledObject."""

    put: Bounds
    """As it was to be; others are somebody else's."""
    was: Bounds | None
    """As they were found; ``None``: the controller made the object."""
    generation: int
    """That it has while nobody but the controller changed its spec."""
    until: str = ""
    """When the bounds that were put end, in ISO 8601; empty: not soon. Names the time in which moves count."""
    moves: int = 0
    """How often its bounds were moved within that time."""
    of: str = ""
    """``namespace/name`` of the object that was marked: a copy of it is not it."""
    made: datetime | None = None
    """When the controller made it: one that is younger was made of its export by somebody else."""

    def write(self) -> str:
        """The annotation's value."""
        said: dict[str, object] = {"v": _FORM, "put": self.put, "was": self.was, "generation": self.generation}
        said |= {"until": self.until, "moves": self.moves, "of": self.of}
        made = None if self.made is None else self.made.isoformat()
        return json.dumps({**said, "made": made}, separators=(",", ":"))


def mark_of(seen: Seen) -> Mark | None:
    """The mark that a ScaledObject bears; ``None``: it bears none.

    Raises:
        BrokenMark: it bears one that is not as it was written; the message says what to do.
    """
    written = seen.annotations.get(MARK)
    if written is None:
        return None
    try:
        return _read(json.loads(written))
    except (TypeError, ValueError, KeyError, OverflowError, RecursionError) as error:
        raise BrokenMark(
            f"the annotation {MARK} is not as it was written, so what it stood at is not known: set its bounds by "
            "hand, or delete it, and remove the annotation"
        ) from error


def moved(seen: Seen, mark: Mark | None, put: Bounds, until: str) -> Mark:
    """The mark of a ScaledObject whose bounds are moved now."""
    if mark is None or is_copy(seen, mark):
        return Mark(put, seen.bounds or put, seen.generation + 1, until, 1, name_of(seen.ref))
    moves = mark.moves + 1 if (mark.put, mark.until) == (put, until) else 1
    # the count of our own writes: what others changed meanwhile keeps it apart from the object's for good
    return Mark(put, mark.was, mark.generation + 1, until, moves, mark.of, mark.made)


def name_of(ref: Ref) -> str:
    """As a mark names the object that it is of."""
    return f"{ref.namespace}/{ref.name}"


def is_copy(seen: Seen, mark: Mark) -> bool:
    """Whether it bears the mark of another object."""
    return mark.of != name_of(seen.ref)


def is_undone(seen: Seen | None) -> bool:
    """Whether nothing of ours is left of what was done to it."""
    return seen is None or MARK not in seen.annotations


def bounds_body(bounds: Bounds) -> dict[str, int]:
    """As a ScaledObject's spec has them."""
    return {"minReplicaCount": bounds[0], "maxReplicaCount": bounds[1]}


def bounds_json(bounds: Bounds | None) -> str:
    """As rows of the audit table have them; empty: there is no object."""
    return "" if bounds is None else json.dumps(bounds_body(bounds), separators=(",", ":"), sort_keys=True)


def fate_of_scaler(action: str, after: str, scaler: Seen | None) -> tuple[Literal["done", "unknown"], str]:
    """What became of an action whose process died before it told, by how the ScaledObject stands."""
    stands = bounds_json(None if scaler is None else scaler.bounds) == after
    if stands and (action != UNDO_SCALER or is_undone(scaler)):
        return "done", "found so after a restart"
    return "unknown", "its process ended before it could tell the result, and it stands otherwise"


@dataclass(frozen=True, slots=True)
class Undo:
    """How what was done to a ScaledObject is taken back."""

    action: Literal["delete", "give_back", "give_way", "leave"]
    """``give_way``: only the mark is removed. ``leave``: nothing is written, and a person has to look at it."""
    why: str
    bounds: Bounds | None
    """Afterwards; ``None``: it is not there."""
    patch: Patch | None = None
    theirs: bool = False
    """Of what is left: somebody changed it, and that stands."""


def undo_of(seen: Seen) -> Undo | None:
    """How it is taken back; ``None``: it bears no mark."""
    try:
        mark = mark_of(seen)
    except BrokenMark as error:
        return Undo("leave", str(error), seen.bounds)
    if mark is None:
        return None
    if RECORD in seen.annotations:
        return Undo("leave", "a schedule has put it down: it is taken back once it is up again", seen.bounds)
    if theirs := _theirs(seen, mark):
        return Undo("give_way", theirs, seen.bounds, _without_mark({}))
    if mark.was is None:
        return _unmade(seen, mark)
    spec: JsonObject = {"spec": bounds_body(mark.was)}
    return Undo("give_back", f"its bounds are {told(mark.was)} again", mark.was, _without_mark(spec))


def _theirs(seen: Seen, mark: Mark) -> str:
    """Why it is somebody else's, whatever it bears; empty: it is ours."""
    if seen.labels.get(LABEL) != OURS:
        return f"it is not labelled {LABEL}={OURS} any more: theirs"
    if is_copy(seen, mark):
        return f"it is a copy of {mark.of}, and theirs"
    if mark.was is not None and seen.bounds != mark.put:
        return "somebody changed its bounds since they were moved: theirs stand"
    return ""


def _unmade(seen: Seen, mark: Mark) -> Undo:
    as_made = mark.made is None or seen.created - mark.made <= _MADE_WITHIN
    if as_made and seen.generation == mark.generation and seen.bounds == mark.put:
        return Undo("delete", "it is deleted, as it was not there before: KEDA gives back the replicas", None)
    name = f"-n {seen.ref.namespace} scaledobjects.keda.sh/{seen.ref.name}"
    why = (
        f"it was made by the controller, and somebody changed it, or made it anew, since: it stays, with bounds of "
        f"{told(seen.bounds or mark.put)}; to delete it: kubectl delete {name}; "
        f"to keep it: kubectl annotate {name} {MARK}-"
    )
    return Undo("leave", why, seen.bounds, theirs=True)


def told(bounds: Bounds) -> str:
    """Bounds as a person reads them."""
    return f"{bounds[0]} to {bounds[1]} replicas"


def _without_mark(body: JsonObject) -> Patch:
    return Patch("object", {**body, "metadata": {"annotations": {MARK: None}}})


def _read(said: object) -> Mark:
    if not isinstance(said, dict):
        raise TypeError("it is no JSON object")
    found = cast("Mapping[str, object]", said)
    if found["v"] != _FORM:
        raise ValueError("its form is not known")
    was, made = found["was"], found["made"]
    return Mark(
        _bounds(found["put"]),
        None if was is None else _bounds(was),
        _count(found["generation"]),
        str(found["until"]),
        _count(found["moves"]),
        str(found["of"]),
        None if made is None else _moment(str(made)),
    )


def _bounds(said: object) -> Bounds:
    if not isinstance(said, list):
        raise TypeError("its bounds are no list")
    least, most = cast("list[object]", said)
    return _count(least), _count(most)


def _moment(said: str) -> datetime:
    moment = datetime.fromisoformat(said)
    if moment.tzinfo is None:
        raise ValueError("its moment has no zone")
    return moment


def _count(said: object) -> int:
    if isinstance(said, bool) or not isinstance(said, int) or said < 0:
        raise TypeError("it has a count that is none")
    return said
