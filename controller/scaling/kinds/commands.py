"""The kubectl commands that give back an original, for people: they need nothing of ours.

Owns their spelling. A command names resource, group and namespace in full, and takes our annotations away once the
levers stand; the annotations' names are written here as they are on the objects.
"""

import json
import shlex

from collectors.kube_json import JsonObject
from controller.scaling.model import Ref

OURS = ("wattledger.io/schedule-original", "wattledger.io/schedule-restore-command")
DOWN = "wattledger.io/schedule-down"
LABELLED = frozenset({"Deployment"})
"""Kinds that bear that label besides."""


def scale_command(resource: str, ref: Ref, replicas: int) -> str:
    """Set replicas; ``resource`` with its group, such as ``deployments.apps``."""
    return _and_forget(["kubectl", "scale", f"--replicas={replicas}"], [], resource, ref)


def patch_command(resource: str, ref: Ref, patch: JsonObject) -> str:
    """Apply a merge patch."""
    said = json.dumps(patch, separators=(",", ":"))
    return _and_forget(["kubectl", "patch"], ["--type=merge", "-p", said], resource, ref)


def _and_forget(verb: list[str], arguments: list[str], resource: str, ref: Ref) -> str:
    which = ["-n", ref.namespace, f"{resource}/{ref.name}"]
    first = [*verb, *which, *arguments]
    commands = [first, ["kubectl", "annotate", *which, *(f"{key}-" for key in OURS)]]
    if ref.kind in LABELLED:
        commands.append(["kubectl", "label", *which, f"{DOWN}-"])
    return " && ".join(map(shlex.join, commands))
