"""From an object as the API server gives it to the little that is kept: counts, flags, conditions, identity.

Owns what is the same in all kinds. Says of a field that cannot be what it should be which one it is, and of which
object; an object with such a field is not scaled. Texts and small mappings that many objects have alike are kept once.
"""

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType

from collectors.kube_errors import Malformed
from collectors.kube_json import JsonObject, child, children, number, strings, text
from controller.scaling.model import (
    KEPT_ANNOTATIONS,
    NOTHING,
    Levers,
    Owner,
    Readiness,
    Ref,
    Seen,
    Value,
)

UNREAD = frozenset(
    {
        "managedFields",
        "affinity",
        "args",
        "command",
        "env",
        "envFrom",
        "lifecycle",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "tolerations",
        "topologySpreadConstraints",
        "behavior",
        "metrics",
        "currentMetrics",
        "triggers",
    }
)
"""Keys whose objects and lists no kind reads: a client may drop them while it reads."""

MOST_CHARS = 300
"""Of what others say, which is as long as they like."""
_REPLICA_FAILURE = "ReplicaFailure"
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")


@dataclass(frozen=True, slots=True)
class Traits:
    """What one kind reads of an object beyond its identity; the fields are those of ``Seen``."""

    levers: Levers
    readiness: Readiness
    gpus_per_pod: int = 0
    losses: tuple[str, ...] = ()
    scales: tuple[str, str] | None = None
    finished: bool = False
    template_of: tuple[str, str] | None = None
    bounds: tuple[int, int] | None = None


def seen_of(kind: str, item: JsonObject, read: Callable[[JsonObject], Traits]) -> Seen:
    """What is kept of one object; ``read`` says what is special to its kind.

    Raises:
        Malformed: it cannot be one; the message names it.
    """
    try:
        return _seen(kind, item, read(item))
    except Malformed as error:
        raise Malformed(f"{called(kind, item)}: {error}") from error


def _seen(kind: str, item: JsonObject, traits: Traits) -> Seen:
    meta = child(item, "metadata")
    return Seen(
        ref=Ref(kind, sys.intern(_identity(meta, "namespace")), _identity(meta, "name")),
        uid=_identity(meta, "uid"),
        version=_identity(meta, "resourceVersion"),
        generation=number(meta, "generation") or 0,
        created=moment(text(meta, "creationTimestamp"), "metadata.creationTimestamp"),
        levers=traits.levers,
        readiness=traits.readiness,
        labels=_shared(strings(meta, "labels")),
        annotations=_shared({key: value for key, value in strings(meta, "annotations").items() if _is_kept(key)}),
        owners=tuple(_owner(reference) for reference in children(meta, "ownerReferences")),
        gpus_per_pod=traits.gpus_per_pod,
        losses=traits.losses,
        scales=traits.scales,
        deleting="deletionTimestamp" in meta,
        finished=traits.finished,
        template_of=traits.template_of,
        bounds=traits.bounds,
        unmade=_unmade(item),
    )


def called(kind: str, item: JsonObject) -> str:
    """The object by kind and name, for messages; of one without a name too."""
    meta = child(item, "metadata")
    return f"{kind} {text(meta, 'namespace')[:63] or '?'}/{text(meta, 'name')[:253] or '?'}"


@lru_cache(maxsize=4096, typed=True)
def levers(**values: Value) -> Levers:
    """Levers, kept once for all objects that stand alike; they are never changed in place."""
    return MappingProxyType(values)


def all_are(wanted: type[Value], levers: Levers) -> bool:
    """Whether each lever that is not missing is of this very type; a truth value is no count."""
    return all(value is None or type(value) is wanted for value in levers.values())


readiness = lru_cache(maxsize=4096)(Readiness)
"""A ``Readiness``, kept once for all objects that are alike."""


def count(item: JsonObject, *keys: str) -> int | None:
    """The count under ``keys``; ``None``: it is not there.

    Raises:
        Malformed: something else stands there.
    """
    found = child(item, *keys[:-1]).get(keys[-1])
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise Malformed(f"{'.'.join(keys)} is {found!r:.60}, which is no count")
    return found


def flag(item: JsonObject, *keys: str) -> bool | None:
    """The truth value under ``keys``; ``None``: it is not there.

    Raises:
        Malformed: something else stands there.
    """
    found = child(item, *keys[:-1]).get(keys[-1])
    if found is not None and not isinstance(found, bool):
        raise Malformed(f"{'.'.join(keys)} is {found!r:.60}, which is neither true nor false")
    return found


def annotation(item: JsonObject, key: str) -> str | None:
    """An annotation; ``None``: it is not there."""
    return strings(item, "metadata", "annotations").get(key)


def is_true(value: Value) -> bool:
    """Whether an annotation says yes, in the words that controllers written in Go accept."""
    return isinstance(value, str) and value in _TRUE


def condition(item: JsonObject, *kinds: str) -> bool:
    """Whether a condition of one of these types holds."""
    found = children(item, "status", "conditions")
    return any(each.get("type") in kinds and each.get("status") == "True" for each in found)


def is_stale(item: JsonObject) -> bool:
    """Whether the status speaks of an older spec; Rollouts write the generation as text."""
    generation = number(item, "metadata", "generation") or 0
    said = child(item, "status").get("observedGeneration")
    if isinstance(said, str) and said.isdecimal():
        said = int(said)
    return isinstance(said, int) and said < generation


def target(item: JsonObject, kind: str = "") -> tuple[str, str]:
    """Kind and name under ``spec.scaleTargetRef``; ``kind`` is what it is where nothing is said.

    Raises:
        Malformed: it names nothing.
    """
    said = child(item, "spec", "scaleTargetRef")
    found = (sys.intern(text(said, "kind") or kind), text(said, "name"))
    if not all(found):
        raise Malformed(f"spec.scaleTargetRef names the kind {found[0]!r} and the object {found[1]!r}")
    return found


def moment(said: str, where: str) -> datetime:
    """A time as the API server writes it, in UTC.

    Raises:
        Malformed: it is none.
    """
    try:
        found = datetime.fromisoformat(said)
    except ValueError as error:
        raise Malformed(f"{where} is {said[:60]!r}, which is no time") from error
    if found.tzinfo is None:
        raise Malformed(f"{where} is {said[:60]!r}, a time without a zone")
    return found.astimezone(UTC)


def _identity(meta: JsonObject, key: str) -> str:
    found = text(meta, key)
    if not _NAME.fullmatch(found):
        raise Malformed(f"metadata.{key} is {meta.get(key)!r:.60}, which names nothing")
    return found


def _unmade(item: JsonObject) -> str:
    """Deployments, Rollouts and RayClusters have one condition for it, of one name."""
    for each in children(item, "status", "conditions"):
        if each.get("type") == _REPLICA_FAILURE and each.get("status") == "True":
            return f"{text(each, 'reason')}: {text(each, 'message')}".strip(": ")[:MOST_CHARS]
    return ""


def _owner(reference: JsonObject) -> Owner:
    group = text(reference, "apiVersion").rpartition("/")[0]
    return Owner(
        sys.intern(group), sys.intern(text(reference, "kind")), text(reference, "name"), text(reference, "uid")
    )


def _is_kept(key: str) -> bool:
    return key.startswith(KEPT_ANNOTATIONS)


def _shared(found: Mapping[str, str]) -> Mapping[str, str]:
    return _alike(tuple(found.items())) if found else NOTHING


@lru_cache(maxsize=1024)
def _alike(items: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    return MappingProxyType({sys.intern(key): sys.intern(value) for key, value in items})
