"""Devices of dynamic resource allocation as the tests have them: classes by type, and claims for one device each."""

from typing import Any

from tests.cluster.node import DRA_DRIVER

RESOURCE_API = "/apis/resource.k8s.io/v1"
SLICES = f"{RESOURCE_API}/resourceslices"
CLASSES = f"{RESOURCE_API}/deviceclasses"
CLAIMS = f"{RESOURCE_API}/namespaces/default/resourceclaims"


def device_class(kind: str) -> dict[str, Any]:
    """The class of all devices of one type, ``gpu`` or ``mig``."""
    chosen = f'device.driver == "{DRA_DRIVER}" && device.attributes["{DRA_DRIVER}"].type == "{kind}"'
    return {"metadata": {"name": kind}, "spec": {"selectors": [{"cel": {"expression": chosen}}]}}


def claim(name: str, kind: str) -> dict[str, Any]:
    """A claim for one device of that type."""
    request = {"name": "device", "exactly": {"deviceClassName": kind}}
    return {"metadata": {"name": name}, "spec": {"devices": {"requests": [request]}}}


def claiming(part: dict[str, Any], name: str) -> dict[str, Any]:
    """The container, with what its pod calls ``name`` among its resource claims."""
    return {**part, "resources": {**part["resources"], "claims": [{"name": name}]}}
