"""Kinds whose levers are fields or annotations of the object, written with the record in one merge patch.

Owns the two common forms: a truth value that suspends, and an annotation that stops. Both know one size only: nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

from collectors.kube_json import JsonObject
from controller.scaling.kind import Sizes
from controller.scaling.kinds.commands import patch_command
from controller.scaling.kinds.reading import Traits, all_are, annotation, flag, is_true, levers, seen_of
from controller.scaling.model import Levers, Seen, Size


@dataclass(frozen=True, slots=True)
class ByPatch:
    """What such kinds have in common; ``read`` says what is special to one."""

    name: str
    group: str
    versions: tuple[str, ...]
    plural: str
    pods_owner_kinds: tuple[str, ...]
    read: Callable[[JsonObject], Traits]
    scale_subresource: bool = False
    sizes: Sizes = "zero"
    generation_counts_annotations: bool = False

    def seen(self, item: JsonObject) -> Seen:
        """What is kept of one object.

        Raises:
            Malformed: it cannot be one.
        """
        return seen_of(self.name, item, self.read)

    def stands(self, levers: Levers) -> bool:
        """Whether an object can stand at these; each kind has its own."""
        raise NotImplementedError

    def patch(self, levers: Levers) -> JsonObject:
        """The merge patch that puts the levers; each kind has its own."""
        raise NotImplementedError

    def command(self, seen: Seen, original: Levers) -> str:
        """The kubectl command that gives back the original."""
        return patch_command(f"{self.plural}.{self.group}", seen.ref, self.patch(original))


@dataclass(frozen=True, slots=True)
class BySuspend(ByPatch):
    """A kind with ``spec.suspend``."""

    def down(self, seen: Seen, size: Size) -> Levers | None:
        """Suspended; ``None``: it is already, or the size is not 0."""
        return None if seen.levers["suspend"] is True or not size.is_zero else levers(suspend=True)

    def stands(self, levers: Levers) -> bool:
        """At a truth value, or at none."""
        return all_are(bool, levers)

    def patch(self, levers: Levers) -> JsonObject:
        """The merge patch of the object."""
        return {"spec": {"suspend": levers["suspend"]}}


@dataclass(frozen=True, slots=True)
class ByAnnotation(ByPatch):
    """A kind that its controller stops while an annotation says yes."""

    lever: str = ""
    key: str = ""

    def down(self, seen: Seen, size: Size) -> Levers | None:
        """The annotation says yes; ``None``: it does already, or the size is not 0."""
        return None if is_true(seen.levers[self.lever]) or not size.is_zero else levers(**{self.lever: "true"})

    def stands(self, levers: Levers) -> bool:
        """At any text, or at none."""
        return all_are(str, levers)

    def patch(self, levers: Levers) -> JsonObject:
        """The merge patch of the object."""
        return {"metadata": {"annotations": {self.key: levers[self.lever]}}}


def suspend_lever(item: JsonObject) -> Levers:
    """``spec.suspend``.

    Raises:
        Malformed: it is no truth value.
    """
    return levers(suspend=flag(item, "spec", "suspend"))


def annotation_lever(item: JsonObject, lever: str, key: str) -> Levers:
    """One annotation."""
    return levers(**{lever: annotation(item, key)})
