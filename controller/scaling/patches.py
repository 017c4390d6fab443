"""A step as the patches that make it, in their order.

A death between two of them leaves an object that bears its record and stands as it stood: the next look goes on from
there. Merge patches (RFC 7396); whoever writes them adds the resourceVersion of what was read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from collectors.kube_json import JsonObject
from controller.scaling.decide import Step
from controller.scaling.down_label import label_of
from controller.scaling.downscaler_words import ORIGINAL, ORIGINAL_PAUSE
from controller.scaling.kind import Kind
from controller.scaling.kinds.commands import DOWN, LABELLED
from controller.scaling.model import Seen
from controller.scaling.record import COMMAND, RECORD, Record

Place = Literal["object", "scale"]
_LEFT = (ORIGINAL, ORIGINAL_PAUSE)
"""What kube-downscaler noted of an object; it goes with our record, else a later 0 would look like its doing."""


@dataclass(frozen=True, slots=True)
class Patch:
    """One write."""

    place: Place
    body: JsonObject


def patches(step: Step, seen: Seen, kind: Kind) -> tuple[Patch, ...]:
    """The writes of a step; none where it writes nothing."""
    if step.action in {"finish", "give_way"}:
        left = {key: None for key in _LEFT if key in seen.annotations}
        return (Patch("object", _marked({RECORD: None, COMMAND: None, **left}, _labels(kind, None))),)
    if step.record is None or step.levers is None:
        return ()
    marks: JsonObject = {}
    if not step.recorded:
        original = step.record.was
        annotations = {RECORD: step.record.write(), COMMAND: kind.command(seen, original)}
        marks = _marked(annotations, _labels(kind, step.record))
    levers = kind.patch(step.levers)
    if kind.scale_subresource:
        # through /scale a field cannot be taken away
        place: Place = "object" if None in step.levers.values() else "scale"
        return (*([Patch("object", marks)] if marks else []), Patch(place, levers))
    return (Patch("object", merged(levers, marks)),)


def merged(one: JsonObject, other: JsonObject) -> JsonObject:
    """Both patches as one; they write different fields."""
    both: dict[str, object] = dict(one)
    for key, value in other.items():
        former = both.get(key)
        if isinstance(former, Mapping) and isinstance(value, Mapping):
            both[key] = merged(cast("JsonObject", former), cast("JsonObject", value))
        else:
            both[key] = value
    return both


def _labels(kind: Kind, record: Record | None) -> Mapping[str, str | None]:
    if kind.name not in LABELLED:
        return {}
    return {DOWN: None if record is None else label_of(record)}


def _marked(annotations: Mapping[str, str | None], labels: Mapping[str, str | None]) -> JsonObject:
    marks = {"annotations": dict(annotations)}
    return {"metadata": {**marks, "labels": dict(labels)} if labels else marks}
