"""What a kind of object must tell so that it can be scaled down and back."""

from typing import Literal, Protocol

from collectors.kube_json import JsonObject
from controller.scaling.model import Levers, Seen, Size

Sizes = Literal["any", "zero", "above_zero"]
"""Which sizes a lever can give: any; none but 0, where a thing runs or does not; all but 0, which an autoscaler's
bounds cannot say."""


class Kind(Protocol):
    """One kind of the registry."""

    @property
    def name(self) -> str:
        """Such as ``Deployment``."""
        ...

    @property
    def group(self) -> str:
        """API group; empty for the core."""
        ...

    @property
    def versions(self) -> tuple[str, ...]:
        """Versions that are understood, the preferred first."""
        ...

    @property
    def plural(self) -> str:
        """As in paths, such as ``deployments``."""
        ...

    @property
    def scale_subresource(self) -> bool:
        """Whether ``replicas`` is written through ``/scale``; its state then goes onto the object first.

        Through ``/scale`` a field cannot be taken away: levers of which one is ``None`` are written onto the object
        itself, by the same patch.
        """
        ...

    @property
    def generation_counts_annotations(self) -> bool:
        """Whether ``metadata.generation`` grows with a change of annotations too, as a Deployment's does."""
        ...

    @property
    def sizes(self) -> Sizes:
        """Which sizes it can be put to; ``down`` to another is ``None``."""
        ...

    @property
    def pods_owner_kinds(self) -> tuple[str, ...]:
        """Kinds that objects of this one make and own; such objects are never scaled by themselves."""
        ...

    def seen(self, item: JsonObject) -> Seen:
        """What is kept of one object.

        Raises:
            Malformed: it cannot be one.
        """
        ...

    def down(self, seen: Seen, size: Size) -> Levers | None:
        """All levers as they are to stand at ``size``; ``None``: it is there already, or below.

        Pure; compares with the levers that ``seen`` has now, which are then the original.
        """
        ...

    def stands(self, levers: Levers) -> bool:
        """Whether an object can stand at levers of these names: asked of what a record says."""
        ...

    def patch(self, levers: Levers) -> JsonObject:
        """The merge patch that puts levers where they are wished, without metadata of any other use.

        For a kind with a scale subresource it is the patch of ``/scale``.
        """
        ...

    def command(self, seen: Seen, original: Levers) -> str:
        """The kubectl command that gives back the original, for people; it names the namespace."""
        ...
