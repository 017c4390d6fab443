"""A fleet's hours out of a real Prometheus and a real VictoriaMetrics that only dcgm-exporter wrote into."""

import pytest

from collectors.prometheus_api import PrometheusApi
from collectors.prometheus_settings import PrometheusSettings
from ledger.prometheus_dcgm import dcgm_hour
from ledger.prometheus_import import fleet_hour
from ledger.prometheus_nodes import node_notes, nodes_seen
from ledger.prometheus_pods import pod_facts
from tests.integration.exporter_history import BEGIN, openmetrics
from tests.integration.kept_samples import prometheus_with, victoria_with

HOUR_NS = 3_600_000_000_000
MINUTE_NS = HOUR_NS // 60


@pytest.fixture(scope="module")
def prometheus(require_tool, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prometheus")
    with prometheus_with(openmetrics(), folder, require_tool("promtool"), require_tool("prometheus")) as url:
        yield url


@pytest.fixture(scope="module")
def victoria(require_tool, tmp_path_factory):
    with victoria_with(openmetrics(), tmp_path_factory.mktemp("victoria"), require_tool("victoria-metrics")) as url:
        yield url


@pytest.fixture(params=["prometheus", "victoria"])
def api(request):
    return PrometheusApi(PrometheusSettings(url=request.getfixturevalue(request.param)))


@pytest.fixture
def hour(api):
    def made(number):
        begin = BEGIN + 3600 * number
        return {each.node: each for each in dcgm_hour(api, begin, pod_facts(api, begin + 3600), "prod")}

    return made


def rows(hour, uuid):
    found = {}
    for key, amount in hour.book.rows.items():
        if key.cell.gpu_uuid == uuid:
            found[key.cell.mig, key.cell.holder, key.cell.account] = amount.gpu_ns
    return found


def test_holders_get_the_minutes_they_held_by_the_activity_seen_in_them(hour):
    node = hour(0)["node-1"]
    web, train = "ml/web-5d4f8-x1/main", "ml/train-7-abc/main"
    assert rows(node, "GPU-A") == {("", web, "active"): HOUR_NS // 2, ("", web, "idle"): HOUR_NS // 2}
    told = rows(node, "GPU-B")
    # a series' last sample counts for up to five minutes, unless the exporter marks its end
    assert told["", train, "active"] in range(20 * MINUTE_NS, 26 * MINUTE_NS)
    assert sum(told.values()) == HOUR_NS
    assert {account for _, _, account in told} == {"active", "unallocated"}
    assert {key.cell.method for key in node.book.rows} == {"prometheus"}
    assert node.source == "prometheus"


def test_instances_own_their_slices_and_what_no_instance_has_is_unallocated(hour):
    told = rows(hour(0)["node-2"], "GPU-M")
    big, small = "ml/big-0/main", "ml/small-0/main"
    assert sum(told.values()) == HOUR_NS
    assert [told["gi1", big, "active"], told["gi1", big, "idle"]] == pytest.approx([HOUR_NS * 3 / 14] * 2, abs=2)
    assert told["gi2", small, "active"] == pytest.approx(HOUR_NS * 2 / 7 / 4, abs=2)
    assert told["", "", "unallocated"] == pytest.approx(HOUR_NS * 2 / 7, abs=2)


def test_minutes_without_a_sample_are_missing_not_idle(hour):
    node = hour(1)["node-1"]
    told = sum(rows(node, "GPU-A").values())
    assert told in range(30 * MINUTE_NS, 36 * MINUTE_NS)
    assert node.book.devices["GPU-A"].accounted_ns == told


def test_energy_is_the_counters_difference_or_power_where_it_fell_or_is_missing(hour):
    first, second = hour(0)["node-1"], hour(1)["node-1"]
    assert first.book.devices["GPU-A"].energy_mj == 400_000 * 3600
    assert first.book.devices["GPU-B"].energy_mj == 300_000 * 3600
    fell = second.book.devices["GPU-A"]
    assert fell.energy_mj == 400_000 * fell.accounted_ns // 10**9
    for node in (first, second):
        for uuid, device in node.book.devices.items():
            booked = sum(amount.energy_mj for key, amount in node.book.rows.items() if key.cell.gpu_uuid == uuid)
            assert booked == device.energy_mj


def test_workload_team_and_node_are_what_kube_state_metrics_told(hour):
    node = hour(0)["node-1"]
    notes = {key.holder: note for key, note in node.book.holders.items()}
    web, train = notes["ml/web-5d4f8-x1/main"], notes["ml/train-7-abc/main"]
    assert (web.workload_kind, web.workload, web.team, web.run) == ("Deployment", "web", "red", "")
    assert (train.workload_kind, train.workload, train.run) == ("Job", "train-7", "train-7")
    facts = node.facts
    assert (facts.cluster, facts.provider, facts.instance_id) == ("prod", "aws", "i-0123456789abcdef0")
    assert (facts.instance_type, facts.region, facts.capacity_type) == ("p5.48xlarge", "us-east-1", "spot")


def test_an_hour_made_again_is_the_same_and_one_before_the_first_sample_is_none(hour):
    assert {name: node.digest for name, node in hour(0).items()} == {
        name: node.digest for name, node in hour(0).items()
    }
    assert hour(-30) == {}


def test_nodes_existed_from_their_creation_until_they_were_last_told_of(api):
    def seen(number):
        begin = BEGIN + 3600 * number
        notes = node_notes(api, begin + 3600, "prod")
        return {
            each.note.node: (each.began - BEGIN, each.seen - begin, each.has_gpus, each.note.gpu_count)
            for each in nodes_seen(api, begin, notes)
        }

    assert seen(0) == {
        "node-1": (-86_400, 3600, False, None),
        "node-3": (590, 3600, True, 2),
        "node-4": (0, 3600, False, None),
    }
    assert seen(1)["node-3"] == (590, 2400, True, 2)


def test_a_gpu_node_without_an_exporter_is_part_of_the_fleet_and_one_without_gpus_is_not(api):
    fleet = fleet_hour(api, BEGIN, pod_facts(api, BEGIN + 3600), "prod")
    assert [each.node for each in fleet.hours] == ["node-1", "node-2", "node-3"]
    assert [each.note.node for each in fleet.lifetimes] == ["node-1", "node-3"]
    assert fleet.hours[2].book.devices == {}
