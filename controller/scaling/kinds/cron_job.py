"""CronJob: ``suspend``; no new runs begin, and those that run are Jobs of their own."""

from collectors.kube_json import JsonObject, child
from controller.scaling.kinds.by_patch import BySuspend, suspend_lever
from controller.scaling.kinds.pod_template import gpus_of
from controller.scaling.kinds.reading import Traits, readiness


def _read(item: JsonObject) -> Traits:
    pod = child(item, "spec", "jobTemplate", "spec", "template", "spec")
    return Traits(suspend_lever(item), readiness(0, 0), gpus_of(pod))


CRON_JOB = BySuspend("CronJob", "batch", ("v1",), "cronjobs", ("Job",), _read)
