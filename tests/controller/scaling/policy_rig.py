"""What tests of policies share: a workload, its namespace, settings."""

from datetime import UTC, datetime

from controller.scaling.model import NamespaceSeen, Readiness, Ref, Seen
from controller.scaling.policies import Policies
from controller.scaling.schedule_settings import ScheduleSettings

NIGHTS = "Mon-Fri 20:00-07:00, Sat-Sun"
MONDAY_NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MONDAY_NIGHT = datetime(2026, 11, 23, 22, tzinfo=UTC)


def workload(kind="Deployment", name="web", namespace="dev-a", labels=None, levers=None, **annotations):
    return Seen(
        ref=Ref(kind, namespace, name),
        uid="u",
        version="1",
        generation=1,
        created=datetime(2026, 1, 1, tzinfo=UTC),
        levers=levers or {"replicas": 3},
        readiness=Readiness(3, 3),
        labels=labels or {},
        annotations=spelt(annotations),
    )


def spelt(annotations):
    """``schedule__down`` as ``wattledger.io/schedule-down``, ``downscaler__uptime`` as ``downscaler/uptime``."""
    prefixes = {"schedule__": "wattledger.io/schedule-", "downscaler__": "downscaler/"}
    return {
        next(
            there + key.removeprefix(here).replace("_", "-") for here, there in prefixes.items() if key.startswith(here)
        ): value
        for key, value in annotations.items()
    }


def settings(*policies, **others):
    return ScheduleSettings.model_validate({"enabled": True, "policies": list(policies), **others})


def nights(name="nights", **others):
    return {"name": name, "namespaces": ["dev-*"], "down": NIGHTS, **others}


def wish(seen, *policies, now=MONDAY_NIGHT, gpus=1, on_namespace=None, **others):
    namespace = NamespaceSeen(seen.ref.namespace, annotations=spelt(on_namespace or {}))
    return Policies(settings(*policies, **others)).wish(seen, namespace, gpus, now)
