"""Kubeflow's Notebook: stopped while an annotation is there. Its value is the time, for people; any would do."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from collectors.kube_errors import Malformed
from collectors.kube_json import JsonObject, child, number
from controller.scaling.kinds.by_patch import ByPatch, annotation_lever
from controller.scaling.kinds.pod_template import gpus_of, losses_of
from controller.scaling.kinds.reading import Traits, all_are, annotation, levers, moment, readiness
from controller.scaling.model import Levers, Seen, Size

STOPPED = "kubeflow-resource-stopped"
LAST_ACTIVITY = "notebooks.kubeflow.org/last-activity"
"""Written by Kubeflow's culler, where it is switched on; as long as a kernel works it is the present time."""
_KERNEL = "a kernel that may be running"
IDLE = timedelta(hours=1)


def _now() -> datetime:
    return datetime.now(tz=UTC)


@dataclass(frozen=True, slots=True)
class Notebook(ByPatch):
    """Lever ``stopped``: the annotation's text, or that there is none."""

    now: Callable[[], datetime] = _now

    def down(self, seen: Seen, size: Size) -> Levers | None:
        """Stopped, with the time at which it was stopped; ``None``: it is already, or the size is not 0."""
        if seen.levers["stopped"] is not None or not size.is_zero:
            return None
        stands = seen.annotations.get(STOPPED)  # asked again about one that is down, the answer is the same
        return levers(stopped=stands or self.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))

    def stands(self, levers: Levers) -> bool:
        """At any text, or at none."""
        return all_are(str, levers)

    def patch(self, levers: Levers) -> JsonObject:
        """The merge patch of the object."""
        return {"metadata": {"annotations": {STOPPED: levers["stopped"]}}}


def losses_now(seen: Seen, now: datetime) -> tuple[str, ...]:
    """What a down would lose at this moment: a kernel that was last active an hour ago holds nothing up.

    An activity that is no time, or lies ahead, says nothing: the kernel may be running.
    """
    try:
        active = moment(seen.annotations.get(LAST_ACTIVITY, ""), LAST_ACTIVITY)
    except Malformed:
        return seen.losses
    is_idle = now - active >= IDLE
    return tuple(loss for loss in seen.losses if not (is_idle and loss.startswith(_KERNEL)))


def _read(item: JsonObject) -> Traits:
    pod = child(item, "spec", "template", "spec")
    put = annotation_lever(item, "stopped", STOPPED)
    is_stopped = put["stopped"] is not None
    active = annotation(item, LAST_ACTIVITY)
    kernel = f"{_KERNEL} (last active {active[:40]})" if active else f"{_KERNEL} (nothing says when it was last active)"
    return Traits(
        put,
        readiness(0 if is_stopped else 1, number(item, "status", "readyReplicas") or 0),
        gpus_of(pod),
        () if is_stopped else (kernel, *losses_of(pod)),
    )


NOTEBOOK = Notebook("Notebook", "kubeflow.org", ("v1", "v1beta1"), "notebooks", ("StatefulSet",), _read)
