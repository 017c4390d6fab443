"""How many series a scrape has by default, and that each of the others can be had."""

import pytest

from benchmarks.kube_node import held, holders, per_device, per_holder
from benchmarks.kube_world import make_world
from exporters.metric_choice import GROUPS
from tests.fakedriver import profiles
from tests.fakedriver.driver import FakeDriver, Process
from tests.integration.agent_process import AgentProcess
from tests.integration.processes import FakeHost, container

DEVICE_SERIES, HOLDER_SERIES = 40, 25
HISTOGRAMS = {"time_to_first_token", "time_per_output_token", "end_to_end_latency"}

pytestmark = pytest.mark.tool("gcc")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    pytest.importorskip("grpc")
    with make_world(tmp_path_factory.mktemp("world"), pages=2) as made:
        yield made


def scrape_when_all_is_told(world, folder, least=frozenset(), **metrics):
    """The agent with its defaults but for ``metrics``; pages are read each second so as not to wait for long. What
    needs a whole window may still be missing: ``least`` are the names that are to be there.
    """
    config = world.config(pages=True)
    config = {**config, "serving": {**config["serving"], "interval_seconds": 1}, "metrics": metrics}
    with AgentProcess(folder, world.environment, config=config) as agent:
        agent.until("all instances are held", lambda scrape: len(held(scrape)) == world.instances, 60)
        cost = "wattledger_cost_per_request_usd"
        agent.until("pages have a cost", lambda scrape: len(holders(scrape, cost)) == world.pages)
        return agent.until(f"there are {sorted(least)}", lambda scrape: least <= names(scrape))


def names(scrape):
    return {sample.name for sample in scrape.samples if not sample.name.endswith(("_bucket", "_sum", "_count"))}


@pytest.fixture(scope="module")
def standard(world, tmp_path_factory):
    return scrape_when_all_is_told(world, tmp_path_factory.mktemp("standard"))


@pytest.fixture(scope="module")
def everything(world, standard, tmp_path_factory):
    folder = tmp_path_factory.mktemp("all")
    return scrape_when_all_is_told(world, folder, names(standard), groups=["all"], histograms=[])


def test_a_device_and_a_mig_instance_have_at_most_40_series(world, standard):
    counts = per_device(standard)
    assert len(counts) == 8 + world.instances
    assert max(counts.values()) <= DEVICE_SERIES


def test_a_holder_has_at_most_25_series_histograms_apart(world, standard):
    counts = per_holder(standard)
    assert len(counts) == world.instances
    assert max(counts.values()) <= HOLDER_SERIES


def test_histograms_are_apart_and_can_be_switched_off(standard, everything):
    def histograms(scrape):
        return {s.name.removesuffix("_seconds_bucket") for s in scrape.samples if s.name.endswith("_bucket")}

    assert histograms(standard) == {f"wattledger_{name}" for name in HISTOGRAMS}
    assert histograms(everything) == set()


def test_groups_bring_what_is_left_out_and_take_nothing_away(standard, everything):
    assert names(standard) < names(everything)
    assert max(per_device(everything).values()) > DEVICE_SERIES
    assert max(per_holder(everything).values()) > HOLDER_SERIES


def test_a_whole_device_has_at_most_40_series_between_two_holders_and_after_a_restart(tmp_path):
    with FakeDriver.create(tmp_path, [profiles.h100()]) as driver:
        host = FakeHost(tmp_path / "host")
        (device,) = driver.devices

        def run(pids, accounts, groups=()):
            device.set(**dict.fromkeys(("utilization", "graphics", "sm", "tensor", "dram"), 0.5 if pids else 0.0))
            device.processes([Process(pid=pid, share=0.5) for pid in pids])
            config = {**host.config, "metrics": {"groups": groups}}
            with AgentProcess(tmp_path / "agent", driver.environment(), config=config) as agent:
                return agent.until("all is told", lambda scrape: accounts <= told(scrape))

        run([host.process(101, container(1))], {"active", "sm"})
        standard = run([], {"active", "unallocated", "unobserved", "sm"})
        everything = run([], {"active", "unallocated", "unobserved", "sm"}, ["all"])
    assert len(of_device(standard)) == DEVICE_SERIES
    assert len(of_device(everything)) > DEVICE_SERIES


def told(scrape):
    """The accounts of a page, and whether activity by performance counters is on it."""
    found = {sample.labels["account"] for sample in scrape.samples if "account" in sample.labels}
    return found | ({"sm"} if scrape.find("wattledger_gpu_sm_activity_ratio") else set())


def of_device(scrape):
    """Series of a device that bear no holder."""
    return [s for s in scrape.samples if "gpu_uuid" in s.labels and not s.labels.get("holder")]


def test_a_group_that_there_is_not_is_refused_with_those_there_are(tmp_path):
    with AgentProcess(tmp_path, config={"metrics": {"groups": ["eror"]}}) as agent:
        assert agent.wait() == 2
        assert "metrics.groups" in agent.said
        assert all(group in agent.said for group in ("all", *GROUPS))
