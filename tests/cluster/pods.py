"""Pods as the tests write them."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.cluster import image

SLEEP = ("sleep", "infinity")


def container(
    name: str = "main", devices: Mapping[str, int] | None = None, command: Sequence[str] = SLEEP, **more: Any
) -> dict[str, Any]:
    """A container of the test image. ``devices``: extended resource to how many."""
    limits = {resource: str(amount) for resource, amount in (devices or {}).items()}
    return {
        "name": name,
        "image": image.NAME,
        "imagePullPolicy": "Never",
        "command": [*command],
        "resources": {"limits": limits},
        **more,
    }


def pod(
    name: str,
    *containers: Mapping[str, Any],
    node: str | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A pod, on one node where ``node`` is given; it dies at once when it is deleted."""
    placed = {} if node is None else {"nodeSelector": {"kubernetes.io/hostname": node}}
    return {
        "metadata": {"name": name, "labels": labels or {}, "annotations": annotations or {}},
        "spec": {
            "containers": [dict(c) for c in containers or (container(),)],
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            **placed,
            **spec,
        },
    }


def container_ids(status: Mapping[str, Any]) -> dict[str, str]:
    """The 64 hex digits of each container, by name, out of a pod as the API server has it."""
    statuses = status["status"]["containerStatuses"]
    return {one["name"]: one["containerID"].removeprefix("containerd://") for one in statuses}
