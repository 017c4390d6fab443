"""The agent on both nodes of a real cluster: whose GPU it is, by the kubelets, the API server and the cgroups."""

from contextlib import ExitStack
from decimal import Decimal

import pytest

from tests.cluster.claims import claiming
from tests.cluster.pods import container, container_ids, pod
from tests.fakedriver import profiles
from tests.fakedriver.driver import FakeDriver, Process
from tests.integration.agent_process import NAMES, AgentProcess

ACTIVITY = {0: 0.75, 1: 0.5}
"""Duty cycle of the whole and of the shared device."""
CLAIM_ACTIVITY = (0.6, 0.25)
"""Of the claimed device, and of the claimed MIG instance."""
REPLICAS = 4
SECONDS, ENERGY = NAMES["time"][0], NAMES["energy"][0]


LONG = 90
"""Seconds that anything may take on a busy machine."""


class Node:
    """One node: its fake driver with a whole, a shared, a MIG and a claimable device, and its agent.

    The claimable device and the larger MIG instance are given out by claims, the others by the device plugin.
    """

    def __init__(self, cluster, name, folder, stack):
        self.cluster, self.name, self.node = cluster, name, cluster.nodes[name]
        (folder / "driver").mkdir(parents=True)
        self.driver = stack.enter_context(FakeDriver.create(folder / "driver", [profiles.h100() for _ in range(4)]))
        self.whole, self.shared, self.cut, self.claimable = self.driver.devices
        self.migs = self.cut.mig(["1g.10gb", "3g.40gb"])
        self.whole.set(power_mw=400_000, utilization=ACTIVITY[0])
        self.shared.set(power_mw=300_000, utilization=ACTIVITY[1])
        self.shared.sampling(period_ms=200)
        self.cut.set(power_mw=200_000)
        self.migs[0].set(graphics=0.5, sm=0.4)
        self.claimable.set(power_mw=350_000, utilization=CLAIM_ACTIVITY[0])
        self.migs[1].set(graphics=CLAIM_ACTIVITY[1], sm=0.2)
        offered = {"nvidia.com/gpu": [self.whole.uuid], "nvidia.com/mig-1g": [self.migs[0].uuid]}
        cluster.offer(name, {**offered, **self._shared_offer()})
        (folder / "token").write_text(cluster.token)
        settings = {
            "mode": "on",
            "node": name,
            "kubelet_socket": str(self.node.pod_resources_socket),
            "kubelet_interval_seconds": 1,
            "api_url": cluster.api_url,
            "token_file": str(folder / "token"),
            "ca_file": str(cluster.ca),
        }
        config = {
            "kubernetes": settings,
            "agent": {"interval_seconds": 0.2, "node_name": name},
            "serving": {"interval_seconds": 1},
        }
        self.agent = AgentProcess(folder / "agent", self.driver.environment(), config=config)
        stack.enter_context(self.agent)

    def _shared_offer(self):
        return {"nvidia.com/gpu.shared": [f"{self.shared.uuid}::{n}" for n in range(REPLICAS)]}

    def offer_claims(self, stack):
        """Offer the devices of claims; the agent has been at work for a while by then."""
        instance = {"uuid": self.migs[1].uuid, "type": "mig", "parentUUID": self.cut.uuid}
        self.node.write_claimable({"gpu-3": {"uuid": self.claimable.uuid, "type": "gpu"}, "gpu-2-mig-9-4-3": instance})
        stack.callback(self.node.write_claimable, {})

    def run(self, run_pod, name, devices, **more):
        """A pod here; its first process's PID."""
        (pid,) = self.run_parts(run_pod, name, {"main": container(devices=devices)}, **more).values()
        return pid

    def run_parts(self, run_pod, name, parts, **more):
        """A pod of these containers here; the first process's PID of each."""
        seen = run_pod(pod(name, *parts.values(), node=self.name, **more))
        ids = container_ids(seen)
        return {part: self.node.pids_of(seen["metadata"]["uid"], ids[part])[0] for part in parts}

    def held_by(self, scrape, name, metric=SECONDS):
        return scrape.total(metric, pod=name, namespace="default")

    def until_held(self, *names):
        """The first scrape in which each of these pods has been booked something."""
        return self.agent.until(f"{names} are booked", lambda s: all(self.held_by(s, name) for name in names), LONG)

    def after(self, scrape, seconds=3):
        """A scrape at least so much booked time later."""
        begun = scrape.value(NAMES["time"][1], gpu_uuid=self.whole.uuid)
        look = lambda s: s.value(NAMES["time"][1], gpu_uuid=self.whole.uuid) >= begun + seconds  # noqa: E731
        return self.agent.until(f"{seconds} s more are booked", look, LONG)


@pytest.fixture
def stack():
    with ExitStack() as entered:
        yield entered


@pytest.fixture
def nodes(cluster, tmp_path, stack):
    return [Node(cluster, name, tmp_path / name, stack) for name in ("node-a", "node-b")]


def gained(before, after, name, **labels):
    return after.total(name, **labels) - before.total(name, **labels)


def test_each_containers_seconds_and_joules_stand_under_its_own_labels_on_both_nodes(
    nodes, run_pod, make_claims, stack
):
    make_claims({f"{kind}-of-{node.name}": kind for node in nodes for kind in ("gpu", "mig")})
    for n, node in enumerate(nodes):
        node.offer_claims(stack)
        whole = node.run(run_pod, f"whole-{n}", {"nvidia.com/gpu": 1}, labels={"team": "vision"})
        big = node.run(run_pod, f"big-{n}", {"nvidia.com/gpu.shared": 1})
        small = node.run(run_pod, f"small-{n}", {"nvidia.com/gpu.shared": 2})
        sliced = node.run(run_pod, f"sliced-{n}", {"nvidia.com/mig-1g": 1})
        node.whole.processes([Process(pid=whole, share=0.7)])
        node.shared.processes([Process(pid=big, share=0.3), Process(pid=small, share=0.1)])
        claimed = claim_both(node, run_pod, f"claiming-{n}")
        node.cut.processes([Process(pid=sliced, share=0.4, mig=node.migs[0].slot)])
        node.claimable.processes([Process(pid=claimed["gpu"], share=0.5)])

    for n, node in enumerate(nodes):
        names = [f"{name}-{n}" for name in ("whole", "big", "small", "sliced", "claiming")]
        node.agent.until("each id is understood", lambda s: s.value("wattledger_device_ids_not_understood") == 0, LONG)
        before = node.after(node.until_held(*names), 1)
        after = node.after(before)
        assert after.imbalance() is None
        whole = gained(before, after, NAMES["time"][1], gpu_uuid=node.whole.uuid)
        assert gained(before, after, SECONDS, pod=f"whole-{n}") == whole
        assert gained(before, after, ENERGY, pod=f"whole-{n}") == gained(
            before, after, NAMES["energy"][1], gpu_uuid=node.whole.uuid
        )
        assert_shared(node, before, after, f"big-{n}", f"small-{n}")
        cut = gained(before, after, NAMES["time"][1], gpu_uuid=node.cut.uuid)
        sliced = gained(before, after, SECONDS, pod=f"sliced-{n}")
        assert float(sliced) == pytest.approx(float(cut) / 7, rel=1e-6)
        assert_claimed(node, before, after, f"claiming-{n}")
        info = after.find("wattledger_holder_info", pod=f"whole-{n}")
        assert [(one.labels["team"], one.labels["workload"]) for one in info] == [("vision", f"Pod/whole-{n}")]
        # Before the kubelet's first answer, and there alone, nobody can tell whose the work is.
        assert not gained(before, after, SECONDS, account="unattributed", gpu_uuid=node.whole.uuid)
        assert not [s for s in after.samples for label in s.labels if label.startswith("exported_")]


def claim_both(node, run_pod, name):
    """A pod whose one container claims a whole device and whose other one a MIG instance; PIDs by claim.

    Where no process is seen on the instance it is theirs by the claim alone.
    """
    named = [{"name": kind, "resourceClaimName": f"{kind}-of-{node.name}"} for kind in ("gpu", "mig")]
    parts = {kind: claiming(container(kind), kind) for kind in ("gpu", "mig")}
    return node.run_parts(run_pod, name, parts, resourceClaims=named)


def assert_claimed(node, before, after, name):
    """The container with the device has all of it, the other one its instance's slices and what they drew."""
    for metric, control in (NAMES["time"], NAMES["energy"]):
        whole = gained(before, after, control, gpu_uuid=node.claimable.uuid)
        assert gained(before, after, metric, pod=name, container="gpu") == whole > 0
    assert not gained(before, after, SECONDS, gpu_uuid=node.claimable.uuid, account="unattributed")
    cut = float(gained(before, after, NAMES["time"][1], gpu_uuid=node.cut.uuid))
    for account, part in (("active", CLAIM_ACTIVITY[1]), ("idle", 1 - CLAIM_ACTIVITY[1])):
        seconds = gained(before, after, SECONDS, pod=name, container="mig", mig=node.migs[1].uuid, account=account)
        assert float(seconds) == pytest.approx(cut * 3 / 7 * part, rel=0.02)
    drawn = gained(before, after, NAMES["energy"][1], gpu_uuid=node.cut.uuid)
    # nothing of the chip's idle power is learnt yet, so its joules go by slices times activity: 3 x 0.25 to 1 x 0.5
    joules = float(gained(before, after, ENERGY, pod=name, container="mig", mig=node.migs[1].uuid))
    assert joules == pytest.approx(float(drawn) * 0.6, rel=0.02)


def assert_shared(node, before, after, big, small):
    """Active time by SM share, idle time by replicas, what nobody holds unallocated."""
    time = float(gained(before, after, NAMES["time"][1], gpu_uuid=node.shared.uuid))
    active, idle = time * ACTIVITY[1], time * (1 - ACTIVITY[1])
    expected = {
        ("active", big): active * 0.75,
        ("active", small): active * 0.25,
        ("idle", big): idle / REPLICAS,
        ("idle", small): idle * 2 / REPLICAS,
    }
    for (account, name), seconds in expected.items():
        found = float(gained(before, after, SECONDS, account=account, pod=name))
        assert found == pytest.approx(seconds, rel=0.02), (account, name)
    free = float(gained(before, after, SECONDS, account="unallocated", gpu_uuid=node.shared.uuid))
    assert free == pytest.approx(idle / REPLICAS, rel=1e-6)


def test_a_device_goes_from_pod_to_nobody_to_pod(nodes, run_pod, cluster):
    node = nodes[0]
    run_pod(pod("first", container(devices={"nvidia.com/gpu": 1}), node=node.name))
    node.whole.set(utilization=0.0, power_mw=70_000)
    node.until_held("first")
    cluster.remove_pod("first")
    free = node.agent.until(
        "the device is nobody's", lambda s: s.total(SECONDS, account="unallocated", gpu_uuid=node.whole.uuid) > 2, LONG
    )
    run_pod(pod("second", container(devices={"nvidia.com/gpu": 1}), node=node.name))
    taken = node.after(node.until_held("second"), 2)

    assert node.held_by(node.after(taken, 1), "first") == node.held_by(free, "first")
    assert taken.imbalance() is None


def test_while_the_kubelet_is_away_nothing_goes_to_the_wrong_holder(nodes, run_pod):
    node = nodes[1]
    pid = node.run(run_pod, "stays", {"nvidia.com/gpu": 1})
    node.whole.processes([Process(pid=pid, share=0.7)])
    before = node.after(node.until_held("stays"), 1)
    node.node.stop_kubelet()
    try:
        away = node.agent.until(
            "the kubelet is down", lambda s: s.value("wattledger_collector_up", collector="kubelet") == 0, LONG
        )
        after = node.after(away, 3)
    finally:
        node.node.start_kubelet()
    back = node.agent.until(
        "the kubelet is back", lambda s: s.value("wattledger_collector_up", collector="kubelet") == 1, LONG
    )

    for scrape in (after, node.after(back, 1)):
        whole = gained(before, scrape, NAMES["time"][1], gpu_uuid=node.whole.uuid)
        assert gained(before, scrape, SECONDS, pod="stays") == whole
        assert scrape.imbalance() is None


def test_a_killed_agent_goes_on_with_the_same_series(nodes, run_pod):
    node = nodes[0]
    pid = node.run(run_pod, "steady", {"nvidia.com/gpu": 1})
    node.whole.processes([Process(pid=pid, share=0.7)])
    before = node.after(node.until_held("steady"), 1)
    node.agent.kill()
    again = AgentProcess(
        node.agent.folder, node.agent.environment, config=node.agent.config, data_dir=node.agent.data_dir
    )
    with again:
        after = again.until(
            "the pod is booked on", lambda s: node.held_by(s, "steady") > node.held_by(before, "steady") + 1, LONG
        )

        known = {name for name in before.series if name.startswith("wattledger_account")}
        assert known <= after.series.keys()
        assert all(after.series[name] >= before.series[name] for name in known)
        assert after.total(SECONDS, account="unobserved", gpu_uuid=node.whole.uuid) > Decimal(0)
        assert after.imbalance() is None


PAGE = r"""
mkdir /tmp/www; n=0
( while true; do n=$((n + 20))
  printf 'vllm:prompt_tokens_total{model_name="m"} %d\n' $((n * 3)) >/tmp/new
  printf 'vllm:generation_tokens_total{model_name="m"} %d\n' $n >>/tmp/new
  printf 'vllm:request_success_total{model_name="m",finished_reason="stop"} %d\n' $((n / 10)) >>/tmp/new
  mv /tmp/new /tmp/www/metrics; sleep 0.5; done ) &
exec httpd -f -p 8000 -h /tmp/www
"""


def test_an_engine_announced_by_annotation_is_read_and_its_work_has_a_cost(nodes, run_pod):
    node = nodes[0]
    announced = {"wattledger.io/engine": "vllm", "wattledger.io/port": "8000"}
    serving = container(devices={"nvidia.com/gpu": 1}, command=("sh", "-c", PAGE))
    run_pod(pod("chat", serving, node=node.name, annotations=announced))
    labels = {"namespace": "default", "pod": "chat", "container": "main", "model": "m"}
    work, cost = "wattledger_work_total", "wattledger_cost_per_million_output_tokens_usd"

    first = node.agent.until("tokens are booked", lambda s: s.total(work, kind="output_tokens", **labels) > 0, LONG)
    last = node.agent.until(
        "more tokens and their cost are there",
        lambda s: (
            s.find(cost, **labels)
            and gained(first, s, work, kind="output_tokens", **labels) > 0
            and gained(first, s, work, kind="requests", **labels) > 0
        ),
        LONG,
    )

    tokens = gained(first, last, work, kind="output_tokens", **labels)
    assert gained(first, last, work, kind="input_tokens", **labels) == 3 * tokens
    assert gained(first, last, work, kind="requests", **labels) * 10 == tokens
    (price,) = last.find(cost, **labels)
    assert price.value > 0
