"""What a scrape shows of holders, by the groups that an installation chose."""

import pytest

from agent.app import AgentApp
from agent.installation import Installation
from agent.node_families import NodeFamilies
from agent.node_state import NodeStates
from collectors.host import HolderUsage
from exporters.metric_settings import MetricsSettings
from tests.agent.test_daemon import Prices, Rig


class Usage:
    def read(self, by_holder):
        return dict.fromkeys(by_holder, HolderUsage(2_500_000_000, 10, 20))


@pytest.fixture
def rig(tmp_path):
    made = Rig(tmp_path / "data")
    made.agent.parts.usage = Usage()
    made.sweep(times=3)
    yield made
    made.agent.close()


def names(rig, **settings):
    """Name and own label of each series of holder a."""
    where, prices = Installation("n", "1.0"), Prices()
    families = NodeFamilies(rig.agent, prices, where, MetricsSettings(**settings))
    rig.app = AgentApp(rig.agent, families, NodeStates(rig.agent, prices, where), "n")
    lines = [prefix for family in rig.app.metrics() for prefix, _ in family.lines if 'holder="a"' in prefix]
    return {line.removeprefix("wattledger_") for line in lines}


HELD = 'node="n",gpu_uuid="GPU-1",mig=""'
HOLDER = 'holder_kind="container",holder="a"'


def test_sharing_adds_each_holders_measured_share_and_memory(rig):
    assert names(rig, groups=("sharing",)) - names(rig) == {
        f'holder_share_ratio{{{HELD},share="used",{HOLDER}}} ',
        f"holder_memory_used_bytes{{{HELD},{HOLDER}}} ",
    }


def test_host_use_adds_cpu_time_and_block_io(rig):
    assert names(rig, groups=("host_use",)) - names(rig) == {
        f'holder_cpu_seconds_total{{node="n",{HOLDER}}} ',
        f'holder_io_bytes_total{{node="n",{HOLDER},direction="read"}} ',
        f'holder_io_bytes_total{{node="n",{HOLDER},direction="write"}} ',
    }


def test_all_is_what_the_groups_show_together(rig):
    every = names(rig, groups=("all",))
    assert every == names(rig, groups=("sharing", "host_use"))
    assert len(every) == len(names(rig)) + 5
