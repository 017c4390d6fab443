"""Whose a serving page is: the pod's container that holds a device, or whom the configuration names.

Owns the rules; knows only what it is given. A page that may be somebody's who holds no device is nobody's yet.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from collectors.holder import Holder
from collectors.process_holders import CONTAINER_ID_LENGTH
from collectors.serving_settings import HolderSelector
from collectors.serving_targets import ServingTarget


def nobody_listens(_: int) -> Holder | None:
    """Where listeners are not looked for."""
    return None


@dataclass(frozen=True, slots=True)
class ServingHolders:
    """Tells whose a page is."""

    held: Callable[[], Collection[Holder]]
    """Those that hold a device now."""
    listener: Callable[[int], Holder | None] = nobody_listens
    """Who listens on a port of this host."""

    def holder_of(self, target: ServingTarget) -> Holder | None:
        """The holder whose devices bear the page's work; ``None`` while it is not known."""
        held = self.held()
        if target.pod:
            return _of_pod(target, held)
        return None if target.holder is None else self._selected(target.holder, held)

    def _selected(self, selector: HolderSelector, held: Collection[Holder]) -> Holder | None:
        if selector.container:
            return _container(selector.container, held)
        if selector.systemd:
            return Holder("systemd", selector.systemd)
        if selector.slurm:
            return Holder("slurm", selector.slurm)
        if selector.user:
            return Holder("user", selector.user)
        if selector.pod:
            return Holder("pod", selector.pod)
        # Behind a forwarded port somebody listens who holds nothing, and whose work it is not.
        found = None if selector.port is None else self.listener(selector.port)
        return found if found in held else None


def _of_pod(target: ServingTarget, held: Collection[Holder]) -> Holder | None:
    prefix = f"{target.namespace}/{target.pod}/"
    declared = Holder("pod", f"{prefix}{target.container}") if target.container else None
    within = [holder for holder in held if holder.kind == "pod" and holder.name.startswith(prefix)]
    if declared in within or not within:
        return declared if held else None
    return within[0] if len(within) == 1 else None


def _container(name: str, held: Collection[Holder]) -> Holder:
    for holder in held:
        if holder.kind == "container" and name.startswith(holder.name) and len(holder.name) >= CONTAINER_ID_LENGTH:
            return holder
    return Holder("container", name)
