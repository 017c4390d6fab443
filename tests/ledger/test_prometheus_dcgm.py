"""What is made of the series of dcgm-exporters: who held what, how active it was, in minutes that add up."""

import logging
import re
from collections import defaultdict

import pytest

from collectors.prometheus_api import Series
from ledger.prometheus_dcgm import MINUTE_NS, dcgm_hour
from ledger.prometheus_pods import PodFacts

HOUR_S = 1_793_491_200
CHAT = "ml/chat-0/main"
FIRST, SECOND = {"instance": "10.0.0.1:9400"}, {"instance": "10.0.0.2:9400"}
UTIL, ACTIVE, USED = "DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_PROF_GR_ENGINE_ACTIVE", "DCGM_FI_DEV_FB_USED"
POWER = "DCGM_FI_DEV_POWER_USAGE"
_OVER = re.compile(r"(count|sum)_over_time\((\w+)\[59m59s:1m\]\)")
_PRESENT = re.compile(r"count_over_time\(\(count by \(UUID\) \((\w+)\)\)\[59m59s:1m\]\)")
_RATIO = re.compile(r"sum by \(UUID\) \((sum_.*)\) / sum by \(UUID\) \((count_.*)\)")


class Fleet:
    """Answers as a Prometheus does that has one sample a minute."""

    def __init__(self):
        self.samples = defaultdict(dict)
        """Name and labels to minute and value."""

    def told(self, name, value, minutes, uuid="GPU-A", pod="chat-0", node="node-1", **more):
        held = {"namespace": "ml", "pod": pod, "container": "main"} if pod else {}
        labels = {"UUID": uuid, "Hostname": node, "modelName": "NVIDIA H100 80GB HBM3", **held, **more}
        self.samples[name, tuple(sorted(labels.items()))].update(dict.fromkeys(minutes, value))

    def query(self, expression, at):
        if found := _OVER.fullmatch(expression):
            return [Series(dict(labels), ((at, value),)) for labels, value in self._over(*found.groups())]
        if found := _PRESENT.fullmatch(expression):
            return self._present(found[1], at)
        if found := _RATIO.fullmatch(expression):
            total, count = (self._by_uuid(each, at) for each in found.groups())
            return [Series({"UUID": uuid}, ((at, value / count[uuid]),)) for uuid, value in total.items()]
        assert expression.startswith(("max by (UUID) (last_over_time(", "last_over_time(kube_node"))
        return []

    def _over(self, what, name):
        for (metric, labels), minutes in self.samples.items():
            if metric == name:
                yield labels, float(len(minutes) if what == "count" else sum(minutes.values()))

    def _present(self, name, at):
        minutes = defaultdict(set)
        for (metric, labels), told in self.samples.items():
            if metric == name:
                minutes[dict(labels)["UUID"]] |= told.keys()
        return [Series({"UUID": uuid}, ((at, float(len(told))),)) for uuid, told in minutes.items()]

    def _by_uuid(self, expression, at):
        found = defaultdict(float)
        for each in self.query(expression, at):
            found[each.labels["UUID"]] += each.value
        return found


@pytest.fixture
def fleet():
    return Fleet()


def restarted(fleet, name, first, second, **more):
    """An exporter that was started anew at the half of the hour."""
    fleet.told(name, first, range(30), **FIRST, **more)
    fleet.told(name, second, range(30, 60), **SECOND, **more)


def booked(fleet):
    """(mig, holder, account) to minutes."""
    (node,) = dcgm_hour(fleet, HOUR_S, PodFacts())
    rows = node.book.rows.items()
    return {(key.cell.mig, key.cell.holder, key.cell.account): round(at.gpu_ns / MINUTE_NS, 3) for key, at in rows}


@pytest.mark.parametrize(("metric", "full"), [(UTIL, 100), (ACTIVE, 1)])
@pytest.mark.parametrize("busy_first", [True, False])
def test_a_restart_of_the_exporter_takes_no_minute_of_a_holder_and_no_part_of_its_activity(
    fleet, metric, full, busy_first
):
    restarted(fleet, USED, 1, 1)
    restarted(fleet, metric, *((full, 0) if busy_first else (0, full)))
    assert booked(fleet) == {("", CHAT, "active"): 30, ("", CHAT, "idle"): 30}


def test_means_are_weighed_by_their_minutes(fleet):
    for name, first, second in ((USED, 1, 1), (UTIL, 100, 0)):
        fleet.told(name, first, range(15), **FIRST)
        fleet.told(name, second, range(15, 60), **SECOND)
    assert booked(fleet) == {("", CHAT, "active"): 15, ("", CHAT, "idle"): 45}


def test_a_restart_takes_nothing_from_one_holder_for_another(fleet):
    restarted(fleet, USED, 1, 1)
    fleet.told(USED, 1, range(60), pod="train-0", **FIRST)
    assert booked(fleet) == {("", CHAT, "unmeasured"): 30, ("", "ml/train-0/main", "unmeasured"): 30}


def test_an_exporter_that_two_scrape_counts_the_hour_once(fleet):
    for scraper in (FIRST, SECOND):
        fleet.told(USED, 1, range(60), **scraper)
        fleet.told(UTIL, 50, range(60), **scraper)
    assert booked(fleet) == {("", CHAT, "active"): 30, ("", CHAT, "idle"): 30}


def test_an_instance_is_there_all_hour_when_its_exporter_was_started_anew(fleet):
    mig = {"GPU_I_ID": "1", "GPU_I_PROFILE": "7g.80gb"}
    restarted(fleet, USED, 1, 1, **mig)
    restarted(fleet, ACTIVE, 1.0, 0.0, **mig)
    assert booked(fleet) == {("gi1", CHAT, "active"): 30, ("gi1", CHAT, "idle"): 30}


def test_mean_power_is_weighed_by_its_minutes_too(fleet):
    for name, first, second in ((USED, 1, 1), (POWER, 700, 100)):
        fleet.told(name, first, range(15), **FIRST)
        fleet.told(name, second, range(15, 60), **SECOND)
    (node,) = dcgm_hour(fleet, HOUR_S, PodFacts())
    assert node.book.devices["GPU-A"].energy_mj == 250_000 * 3600


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_sample_that_is_no_number_is_refused_by_name_and_its_siblings_are_booked(fleet, value, caplog):
    for uuid in ("GPU-A", "GPU-B"):
        fleet.told(USED, 1, range(60), uuid, **FIRST)
        fleet.told(UTIL, 50, range(60), uuid, **FIRST)
        fleet.told(POWER, 100, range(60), uuid, **FIRST)
    for name in (UTIL, POWER):
        fleet.told(name, value, [7], **FIRST)
    with caplog.at_level(logging.WARNING):
        (node,) = dcgm_hour(fleet, HOUR_S, PodFacts())
    told = {(key.cell.gpu_uuid, key.cell.account): at.gpu_ns // MINUTE_NS for key, at in node.book.rows.items()}
    assert told == {("GPU-A", "unmeasured"): 60, ("GPU-B", "active"): 30, ("GPU-B", "idle"): 30}
    assert [device.energy_mj for device in node.book.devices.values()] == [None, 360_000_000]
    (line,) = caplog.messages
    assert line.startswith(f"the hour 2026-11-01T00:00Z: 1 series of {UTIL}, such as that of GPU-A, have samples")


def test_what_another_metric_measures_stands_in_for_what_is_no_number(fleet):
    fleet.told(USED, 1, range(60), **FIRST)
    fleet.told(UTIL, 50, range(60), **FIRST)
    fleet.told(ACTIVE, float("nan"), range(60), **FIRST)
    assert booked(fleet) == {("", CHAT, "active"): 30, ("", CHAT, "idle"): 30}
