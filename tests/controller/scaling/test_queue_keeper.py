"""ScaledObjects that are kept, on a real API server: made where they are missing, bounds moved at the edges."""

import contextlib
import threading
from datetime import UTC, datetime, timedelta

import pytest

from collectors.clock import SystemClock
from collectors.errors import Unavailable
from collectors.kube_follow import Backoff
from controller.scaling.breaker import Breaker, BreakerLimits
from controller.scaling.cluster_view import ClusterView
from controller.scaling.informers import Informers
from controller.scaling.kinds.scaled_object import SCALED_OBJECT as KIND
from controller.scaling.queue_book import QueueBook
from controller.scaling.queue_keeper import QueueKeeper
from controller.scaling.queue_mark import Mark, mark_of, name_of
from controller.scaling.queue_settings import QueueScalingSettings
from controller.scaling.rate import TokenBucket
from controller.scaling.registry import KINDS
from controller.scaling.writer import Pace, Writer
from tests.cluster.api import ApiError
from tests.controller.scaling.queue_rig import Rows
from tests.controller.scaling.scaling_rig import until

DAY = datetime(2026, 11, 23, 12, tzinfo=UTC)
NIGHT = DAY + timedelta(hours=10)


class Rig:
    """A keeper with all that it needs; the test moves its clock."""

    def __init__(self, api_server, namespace):
        clock = SystemClock()
        api = api_server.client()
        self.server, self.namespace, self.now = api_server, namespace, DAY
        self.view = ClusterView(clock)
        self.informers = Informers(api, KINDS, self.view, clock)
        pace = Pace(clock, threading.Event(), TokenBucket(1000), Backoff())
        writer = Writer(api, self.view.served, pace, Breaker(BreakerLimits(), clock.monotonic_ns()))
        self.rows = Rows()
        book = QueueBook(self.rows, lambda _about, _text, _now: None, "c")
        self.keeper = QueueKeeper(settings(namespace), self.view, writer, book, lambda: self.now, lambda: False)
        self.writer = writer
        self.path = f"/apis/keda.sh/v1alpha1/namespaces/{namespace}/scaledobjects"

    def run(self, now):
        self.now = now
        self.keeper.run()

    def bounds(self):
        spec = self.server.admin.get(f"{self.path}/chat")["spec"]
        return spec["minReplicaCount"], spec["maxReplicaCount"]

    def seen(self):
        return [each.bounds for each in self.view.objects("ScaledObject") if each.ref.namespace == self.namespace]


def settings(namespace):
    windows = [{"when": "Mon-Fri 20:00-07:00", "min_replicas": 1, "max_replicas": 2}]
    chat = {"namespace": namespace, "name": "chat", "min_replicas": 3, "max_replicas": 9, "windows": windows}
    return QueueScalingSettings.model_validate(
        {"write": True, "prometheus_url": "http://prometheus:9090", "workloads": [chat]}
    )


@pytest.fixture
def rig(api_server, namespace):
    api_server.install_crds("scaledobjects.keda.sh")
    rig = Rig(api_server, namespace)
    rig.informers.start()
    try:
        until(lambda: rig.view.ready() and rig.view.synced("ScaledObject"))
        yield rig
    finally:
        rig.informers.close()
        with contextlib.suppress(ApiError):  # else the next one's keeper would take it back
            api_server.admin.request("DELETE", f"{rig.path}/chat")


def test_it_is_made_and_its_bounds_follow_the_clock(rig):
    rig.run(DAY)
    assert rig.bounds() == (3, 9)
    until(lambda: rig.seen() == [(3, 9)])
    rig.run(NIGHT)
    assert rig.bounds() == (1, 2)
    until(lambda: rig.seen() == [(1, 2)])
    rig.run(DAY + timedelta(days=1))
    assert rig.bounds() == (3, 9)


def test_what_somebody_changed_of_the_rest_stays(rig):
    rig.run(DAY)
    until(rig.seen)
    rig.server.patch(f"{rig.path}/chat", {"spec": {"cooldownPeriod": 77}})
    rig.run(NIGHT)
    until(lambda: rig.seen() == [(1, 2)] or rig.run(NIGHT))
    assert rig.server.admin.get(f"{rig.path}/chat")["spec"]["cooldownPeriod"] == 77


def test_what_it_made_is_deleted_as_it_is_seen_and_not_otherwise(rig):
    rig.run(DAY)
    until(rig.seen)
    (seen,) = (each for each in rig.view.objects("ScaledObject") if each.ref.namespace == rig.namespace)
    assert mark_of(seen) == Mark((3, 9), None, seen.generation, "2026-11-23T20:00:00+00:00", 0, name_of(seen.ref), DAY)
    assert rig.writer.create(KIND, seen.ref, {**_head(), "spec": _SPEC}).result == "conflict"
    rig.server.patch(f"{rig.path}/chat", {"spec": {"cooldownPeriod": 77}})
    assert rig.writer.delete(KIND, seen).result == "conflict"
    until(lambda: rig.view.get(seen.ref).version != seen.version)
    assert rig.writer.delete(KIND, rig.view.get(seen.ref)).result == "done"
    assert rig.writer.delete(KIND, seen).result == "gone"


def test_one_that_somebody_else_made_is_left_alone_and_named(rig):
    rig.server.admin.post(rig.path, {**_head(), "spec": _SPEC})
    until(rig.seen)
    with pytest.raises(Unavailable, match=r"/chat: left alone as somebody else's: label it"):
        rig.run(DAY)
    assert rig.bounds() == (0, 5)


_SPEC = {"scaleTargetRef": {"name": "chat"}, "minReplicaCount": 0, "maxReplicaCount": 5, "triggers": []}


def _head():
    return {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "chat"}}
