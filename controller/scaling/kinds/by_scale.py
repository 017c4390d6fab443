"""A kind whose one lever is a count of replicas, written through its scale subresource."""

from collections.abc import Callable
from dataclasses import dataclass

from collectors.kube_json import JsonObject
from controller.scaling.kind import Sizes
from controller.scaling.kinds.commands import patch_command, scale_command
from controller.scaling.kinds.reading import Traits, all_are, count, levers, seen_of
from controller.scaling.model import Levers, Seen, Size, Value


@dataclass(frozen=True, slots=True)
class ByScale:
    """A kind of the registry; ``read`` says what is special to it."""

    name: str
    group: str
    versions: tuple[str, ...]
    plural: str
    pods_owner_kinds: tuple[str, ...]
    read: Callable[[JsonObject], Traits]
    scale_subresource: bool = True
    sizes: Sizes = "any"
    generation_counts_annotations: bool = False

    def seen(self, item: JsonObject) -> Seen:
        """What is kept of one object.

        Raises:
            Malformed: it cannot be one.
        """
        return seen_of(self.name, item, self.read)

    def down(self, seen: Seen, size: Size) -> Levers | None:
        """Fewer replicas; ``None``: no more are there."""
        original = replicas_of(seen.levers["replicas"])
        wanted = size.of(original)
        return None if wanted >= original else levers(replicas=wanted)

    def stands(self, levers: Levers) -> bool:
        """At a count, or at none."""
        return all_are(int, levers)

    def patch(self, levers: Levers) -> JsonObject:
        """The merge patch of ``/scale``, and of the object itself."""
        return {"spec": {"replicas": levers["replicas"]}}

    def command(self, seen: Seen, original: Levers) -> str:
        """The kubectl command that gives back the original."""
        resource, replicas = f"{self.plural}.{self.group}", original["replicas"]
        if replicas is None:
            return patch_command(resource, seen.ref, self.patch(original))
        return scale_command(resource, seen.ref, replicas_of(replicas))


def replicas_of(value: Value) -> int:
    """Replicas that a lever asks for; where none are named it is one, in every kind."""
    return value if isinstance(value, int) else 1


def replicas_lever(item: JsonObject) -> Levers:
    """``spec.replicas``.

    Raises:
        Malformed: it is no count.
    """
    return levers(replicas=count(item, "spec", "replicas"))
