"""Job: ``suspend`` ends its pods, so it needs a declared checkpoint; an ended one is left alone."""

from collectors.kube_json import JsonObject, child, number, strings
from controller.scaling.kinds.by_patch import BySuspend, suspend_lever
from controller.scaling.kinds.pod_template import gpus_of, losses_of
from controller.scaling.kinds.reading import Traits, annotation, condition, count, is_true, readiness

CHECKPOINT = "wattledger.io/checkpoint"
"""An annotation by which a team says that its Job goes on from where it was stopped: ``"true"``."""


def checkpoint_losses(item: JsonObject, template: JsonObject) -> tuple[str, ...]:
    """What is lost without a checkpoint; the annotation may stand on the object or on its pods' template."""
    said = annotation(item, CHECKPOINT) or strings(template, "metadata", "annotations").get(CHECKPOINT)
    return () if is_true(said) else (f"its work since it began: no {CHECKPOINT} annotation declares that it saves it",)


def _read(item: JsonObject) -> Traits:
    put, spec, status = suspend_lever(item), child(item, "spec"), child(item, "status")
    template = child(spec, "template")
    at_once = _pods_at_once(item)
    finished = condition(item, "Complete", "Failed", "SuccessCriteriaMet", "FailureTarget")
    wanted = 0 if finished or put["suspend"] else at_once
    losses = (*checkpoint_losses(item, template), *losses_of(child(template, "spec")))
    return Traits(
        put,
        readiness(wanted, number(status, "ready") or 0),
        gpus_of(child(template, "spec")) * at_once,
        losses,
        finished=finished,
    )


def _pods_at_once(item: JsonObject) -> int:
    at_once = count(item, "spec", "parallelism")
    at_once = 1 if at_once is None else at_once
    completions = count(item, "spec", "completions")
    if completions is None:
        return at_once
    return min(at_once, max(0, completions - (number(item, "status", "succeeded") or 0)))


JOB = BySuspend("Job", "batch", ("v1",), "jobs", ("Pod",), _read)
