"""Objects as an API server keeps them, in memory: merge patches, resourceVersion, generation, the scale subresource.

For the laws that need thousands of runs; the same runs are made against a real API server elsewhere.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

from controller.scaling.act import Wrote
from controller.scaling.down_label import believed
from controller.scaling.model import NamespaceSeen, Ref


class Killed(BaseException):
    """The process was killed here."""


def merge(target, patch):
    """RFC 7396."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


@dataclass
class ToyServer:
    """All objects, and what befalls writes."""

    kinds: dict
    objects: dict = field(default_factory=dict)
    namespaces: dict = field(default_factory=dict)
    pods: dict = field(default_factory=dict)
    before: Callable = lambda _number: None
    """Called with the number of a write before it is done: may raise, or return a result to answer instead."""
    after: Callable = lambda _number: None
    """Called once it is done, before its answer."""
    writes: int = 0
    version: int = 100
    follow: Callable = lambda _item: None
    """Called with an object whose spec changed: what its controller does, such as its status."""
    log: list = field(default_factory=list)

    def add(self, kind, item):
        """A new object."""
        item = copy.deepcopy(item)
        meta = item["metadata"]
        meta.setdefault("uid", f"uid-{meta['name']}-{self.version}")
        meta.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        meta["generation"] = 1
        ref = Ref(kind, meta.get("namespace", "default"), meta["name"])
        self.objects[ref] = item
        self._touch(item)
        self.follow(item)
        return ref

    def edit(self, ref, patch):
        """What somebody else does."""
        self._merge(ref, patch)

    def write(self, kind, ref, patch, version):
        """One patch, as the engine's writer makes it."""
        self.writes += 1
        number = self.writes
        if (answer := self.before(number)) is not None:
            return answer
        if ref not in self.objects:
            return Wrote("gone")
        if self.objects[ref]["metadata"]["resourceVersion"] != version:
            return Wrote("conflict", why="another wrote it first")
        self.log.append((ref, patch))
        if patch.place == "scale":
            assert kind.scale_subresource
            assert set(patch.body) <= {"spec", "metadata"}
        self._merge(ref, patch.body)
        if (answer := self.after(number)) is not None:
            return answer
        return Wrote("done", self.objects[ref]["metadata"]["resourceVersion"])

    def _merge(self, ref, patch):
        old = self.objects[ref]
        new = merge(old, patch)
        if new == old:
            return
        if new.get("spec") != old.get("spec") or (
            self.kinds[ref.kind].generation_counts_annotations
            and new["metadata"].get("annotations") != old["metadata"].get("annotations")
        ):
            new["metadata"]["generation"] = old["metadata"]["generation"] + 1
        self.objects[ref] = new
        self._touch(new)
        self.follow(new)

    def _touch(self, item):
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)

    # the view

    def ready(self):
        return True

    def objects_of(self, kind):
        return [believed(self.kinds[kind].seen(item)) for ref, item in self.objects.items() if ref.kind == kind]

    def get(self, ref):
        return believed(self.kinds[ref.kind].seen(self.objects[ref])) if ref in self.objects else None

    def namespace(self, name):
        return self.namespaces.get(name, NamespaceSeen(name))

    def pods_of(self, ref):
        return self.pods.get(ref, ())

    def scalers_of(self, kind, subject):
        if kind not in self.kinds:
            return []
        return [
            seen
            for seen in self.objects_of(kind)
            if seen.ref.namespace == subject.namespace and seen.scales == (subject.kind, subject.name)
        ]


class ToyView:
    """The server as the engine's view of it; ``objects`` is a function there."""

    def __init__(self, server):
        self._server = server
        self.objects = server.objects_of
        for name in ("ready", "get", "namespace", "pods_of", "scalers_of"):
            setattr(self, name, getattr(server, name))
