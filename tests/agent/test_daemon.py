"""The loop as a whole, on a source and a clock of our own: what is shown, served and kept."""

import json
import os
import threading
from dataclasses import replace
from datetime import date
from fractions import Fraction

import pytest

from agent.app import AgentApp
from agent.budget import CpuBudget
from agent.daemon import NodeAgent, Parts
from agent.holdings import Holdings
from agent.hour_notes import HourNotes
from agent.installation import HolderFacts, Installation
from agent.node_families import NodeFamilies
from agent.node_state import NodeStates
from agent.opening import open_books
from agent.poller import Poller
from agent.sampler import Sampler
from agent.settings import AgentSettings
from agent.store import StateStore
from collectors.clock import NS_PER_HOUR, NS_PER_SECOND
from collectors.errors import DeviceLost, Unavailable
from collectors.holder import Holder
from collectors.host import HostReading
from collectors.readings import DeviceSweep, XidEvent
from ledger.hours import HolderKey, NodeNote, PriceNote, from_json
from ledger.price import Price
from tests.agent.readings import FACTS, reading

HOLDERS = {1: Holder("container", "a")}
PRICE = Price("p", 3_600_000_000, "config", date(2026, 1, 1), "on_demand")
START = 500_000 * NS_PER_HOUR


class Clock:
    def __init__(self):
        self.boot_id = "boot"
        self.now = 0

    def monotonic_ns(self):
        return self.now

    def wall_ns(self):
        return START + self.now

    def wait(self, event, duration_ns):
        self.now += duration_ns
        return event.is_set()


class Source:
    """One GPU that draws 300 W while process 1 works on it."""

    name = "nvml"

    def __init__(self, clock):
        self.clock = clock
        self.error = None
        self.xids = []

    def discover(self):
        if self.error:
            raise self.error
        return [FACTS]

    def unreadable(self):
        return []

    def read(self, uuid):
        if self.error:
            raise self.error
        energy = self.clock.now * 300_000 // NS_PER_SECOND
        made = reading(pids=[1], activity=0.5, energy_mj=energy, watts=300)
        return DeviceSweep(replace(made, read_ns=self.clock.now))

    def drain_xids(self):
        drained, self.xids = self.xids, []
        return drained

    def close(self):
        pass

    def holdings(self, pids):
        return Holdings({pid: HOLDERS[pid] for pid in pids if pid in HOLDERS})


class Host:
    def read(self):
        return HostReading(0, cpu_busy_ratio=0.25, cpu_iowait_ratio=0.5, load1=1.5)


class Prices:
    def of(self, device):
        return PRICE


class Rig:
    def __init__(self, folder):
        self.folder = folder
        self.clock = Clock()
        self.source = Source(self.clock)
        self.teams = {"a": "search"}
        self.open()

    def open(self):
        settings = AgentSettings()
        self.store = StateStore(self.folder, "n", "nvml")
        note = PriceNote(PRICE.nano_usd_per_gpu_hour, "config", "2026-01-01", "on_demand", False)
        accountant = open_books(self.store, self.clock, settings, lambda _: ("p", note))
        sampler = Sampler(self.source, self.clock, 1)
        parts = Parts(
            settings,
            self.clock,
            sampler,
            self.source,
            self.store,
            accountant,
            CpuBudget(None),
            lambda ns: ns,
            Host(),
            notes=HourNotes(self.facts, lambda: NodeNote("n", "eu-1")),
        )
        self.agent = NodeAgent(parts)
        prices, where = Prices(), Installation("n", "1.0")
        self.app = AgentApp(
            self.agent, NodeFamilies(self.agent, prices, where), NodeStates(self.agent, prices, where), "n"
        )

    def facts(self, holder):
        team = self.teams.get(holder.name)
        return None if team is None else HolderFacts(dimensions={"team": team})

    def sweep(self, seconds=1, times=1):
        for _ in range(times):
            self.clock.now += seconds * NS_PER_SECOND
            self.agent.sweep()

    def metric(self, name, label=""):
        return [
            Fraction(str(value))
            for family in self.app.metrics()
            if family.metric.name == f"wattledger_{name}"
            for prefix, value in family.lines
            if label in prefix
        ]


@pytest.fixture
def rig(tmp_path):
    made = Rig(tmp_path / "data")
    yield made
    made.agent.close()


def test_a_sweep_is_booked_and_shown(rig):
    rig.sweep(times=11)

    assert rig.metric("gpu_accounted_seconds_total") == [10]
    assert rig.metric("account_gpu_seconds_total", 'account="active"') == [5]
    assert rig.metric("gpu_energy_joules_total") == [3000]
    assert rig.metric("gpu_list_cost_usd_total") == [Fraction(1, 100)]
    assert rig.metric("gpu_power_watts", 'scope="gpu"') == [300]
    assert rig.metric("utilization_gap_ratio", 'holder="a"') == [Fraction(1, 2)]
    assert rig.metric("host_cpu_iowait_ratio") == [Fraction(1, 2)]
    assert rig.metric("simulated") == [0]


def test_each_metric_stands_once_on_the_page(rig):
    rig.sweep(times=3)
    names = [family.metric.name for family in rig.app.metrics()]

    assert len(names) == len(set(names))


def test_no_sweep_no_series_of_devices(rig):
    assert rig.metric("gpu_up") == []
    assert rig.app.ready() == (False, "no sweep has finished yet")
    assert rig.app.health()[0]
    assert rig.app.state()["devices"] == []


def test_is_ready_while_sweeps_are_fresh(rig):
    rig.sweep()
    assert rig.app.ready()[0]
    rig.clock.now += 31 * NS_PER_SECOND
    assert rig.app.ready() == (False, "the last sweep finished 31 s ago")


def test_a_lost_device_shows_as_down_with_its_age_and_without_gauges(rig):
    rig.sweep(times=2)
    rig.source.error = DeviceLost("fell off the bus")
    rig.sweep(times=3)

    assert rig.metric("gpu_up") == [0]
    assert rig.metric("gpu_age_seconds") == [3]
    assert rig.metric("gpu_power_watts") == []
    assert rig.metric("account_gpu_seconds_total", 'account="unobserved"') == [3]
    assert rig.metric("collector_up", 'collector="gpu"') == [0]
    (device,) = rig.app.state()["devices"]
    assert (device["healthy"], device["health_message"], device["power_watts"]) == (False, "fell off the bus", None)


def test_without_a_driver_the_agent_stays_up_and_says_so(rig, caplog):
    rig.source.error = Unavailable("no driver: install it")
    rig.sweep(times=3)

    assert rig.app.state()["message"] == "no driver: install it"
    assert rig.app.health()[0]
    assert caplog.text.count("no driver: install it") == 1


def test_xids_are_counted(rig):
    rig.source.xids = [XidEvent("GPU-1", 79), XidEvent("GPU-1", 79)]
    rig.sweep()

    assert rig.metric("gpu_xid_errors_total", 'xid="79"') == [2]


def test_state_adds_up_to_the_totals(rig):
    rig.sweep(times=11)
    state = rig.app.state()
    (device,) = state["devices"]

    assert sum(row["gpu_seconds"] for row in device["accounts"]) == device["totals"]["gpu_seconds"] == 10
    assert sum(row["usd"] for row in device["accounts"]) == pytest.approx(device["totals"]["usd"])
    assert state["totals"]["power_watts"] == 300
    assert device["holders"] == [
        {"kind": "container", "name": "a", "mig": None, "share_ratio": 1.0, "memory_bytes": 1 << 30}
    ]
    json.dumps(state)


def test_idle_energy_is_not_shown_as_zero_while_idle_power_is_not_learnt(rig):
    rig.sweep(times=11)
    state = rig.app.state()
    rows = {row["account"]: row for row in state["devices"][0]["accounts"]}

    assert (rows["idle"]["joules"], rows["idle"]["energy_method"]) == (None, "idle_unknown")
    assert rows["active"]["joules"] == 3000
    assert {row["account"]: row["joules"] for row in state["totals"]["accounts"]} == {"active": 3000, "idle": None}


def test_a_closed_hour_says_who_its_holders_were_and_what_the_node_was(rig):
    rig.sweep(600, times=8)
    closed, current = map(from_json, json.loads(rig.app.hours(None))["hours"])

    assert [note.team for note in closed.holders.values()] == ["search"]
    assert closed.holders == current.holders
    assert closed.node_facts == NodeNote("n", "eu-1", gpu_count=1, booted_s=START // NS_PER_SECOND)


def test_who_a_holder_was_outlives_a_kill_and_an_edit_splits_no_row(rig):
    rig.sweep(60, times=3)
    before = len(rig.store.books.hours[START // NS_PER_SECOND].rows)
    rig.teams["a"] = "ads"
    rig.sweep(60)
    os.close(rig.store._lock)
    rig.store._file.close()
    rig.teams.clear()
    rig.open()
    rig.sweep(600, times=7)

    hour = from_json(json.loads(rig.app.hours(None))["hours"][0])
    assert hour.holders[HolderKey("container", "a")].team == "ads"
    held = [key for key in hour.rows if key.cell.holder == "a"]
    assert len(held) == before


def test_a_closed_hour_is_served_from_the_journal_with_its_profile(rig):
    rig.sweep(600, times=8)
    document = json.loads(rig.app.hours(None))

    closed, current = document["hours"]
    assert (closed["closed"], current["closed"]) == (True, False)
    assert closed["devices"]["GPU-1"]["accounted_ns"] == 3000 * NS_PER_SECOND
    profile = {row["holder"]: row for row in closed["profile"]}["a"]
    assert profile["measures"]["duty_cycle_ppm"][2] == 500_000
    assert current["booked_ns"] == 1200 * NS_PER_SECOND
    assert sum(row[-2] for row in current["usage"]) == current["devices"]["GPU-1"]["accounted_ns"]


def test_hours_since_an_hour_or_a_change(rig):
    rig.sweep(600, times=20)
    document = json.loads(rig.app.hours(None))
    names = [hour["hour_utc"] for hour in document["hours"]]

    def asked(since):
        return [hour["hour_utc"] for hour in json.loads(rig.app.hours(since))["hours"]]

    assert asked(names[1]) == names[1:]
    assert asked(f"change:{document['change']}") == names[-1:]
    assert asked("change:1") == names[1:]


@pytest.mark.parametrize("since", ["yesterday", "change:", "change:-1", "2026-11-22T06:00:00"])
def test_a_since_that_is_no_hour_is_refused_with_what_is_allowed(rig, since):
    with pytest.raises(ValueError, match=r"allowed are an hour such as .* or change:N"):
        rig.app.hours(since)


def test_books_go_on_after_a_restart_and_counters_do_not_fall(rig):
    rig.sweep(times=11)
    rig.agent.close()
    rig.open()
    rig.sweep(100)

    assert rig.metric("gpu_accounted_seconds_total") == [110]
    assert rig.metric("account_gpu_seconds_total", 'account="active"') == [5]
    assert rig.metric("account_gpu_seconds_total", 'account="unobserved"') == [100]


def test_after_a_reboot_counters_begin_at_zero(rig):
    rig.sweep(times=11)
    rig.agent.close()
    rig.clock.boot_id = "next"
    rig.open()
    rig.sweep(times=2)

    assert rig.metric("gpu_accounted_seconds_total") == [2]


def test_a_finished_holder_s_series_go_after_ten_minutes_and_sums_stay(rig):
    rig.sweep(times=3)
    rig.source.read = lambda _: DeviceSweep(
        replace(reading(activity=0.0, energy_mj=rig.clock.now * 300_000 // NS_PER_SECOND), read_ns=rig.clock.now)
    )
    rig.sweep(60, times=9)
    assert rig.metric("account_gpu_seconds_total", 'holder="a"') != []
    rig.sweep(60, times=4)

    assert rig.metric("account_gpu_seconds_total", 'holder="a"') == []
    assert sum(rig.metric("account_gpu_seconds_total")) == rig.metric("gpu_accounted_seconds_total")[0]


def test_runs_until_told_to_stop_and_then_saves(rig, tmp_path):
    stop = threading.Event()
    wait = rig.clock.wait

    def wait_until_five(event, duration_ns):
        if rig.agent.snapshot.number == 5:
            stop.set()
        return wait(event, duration_ns)

    rig.clock.wait = wait_until_five
    rig.agent.run(stop)

    saved = (tmp_path / "data" / "state.json").read_text()
    assert '"accounted_ns":4000000000' in saved
    rig.open()


def test_a_slow_page_is_polled_in_a_thread_of_its_own(rig):
    def refuse():
        raise Unavailable("http://127.0.0.1:9400/metrics: connection refused; is dcgm-exporter running?")

    Poller("dcgm", refuse, 15, rig.clock, rig.agent.collectors).poll()
    rig.sweep()

    assert rig.metric("collector_up", 'collector="dcgm"') == [0]
    messages = {row["collector"]: row["message"] for row in rig.app.state()["collectors"]}
    assert "is dcgm-exporter running?" in messages["dcgm"]


def test_a_defect_in_a_polled_collector_is_shown_and_does_not_end_its_thread(rig):
    def fail():
        raise ZeroDivisionError("defect")

    poller = Poller("dcgm", fail, 15, rig.clock, rig.agent.collectors)
    poller.poll()
    poller.poll()

    assert rig.metric("collector_up", 'collector="dcgm"') == [0]


def test_a_spot_notice_is_shown_with_its_time_until_it_is_taken_back(rig):
    rig.agent.tell_notice("interruption", "terminate", 1_800_000_000.0)
    assert rig.metric("spot_notice_timestamp_seconds", 'action="terminate"') == [1_800_000_000]
    rig.agent.tell_notice("", "", None)

    assert rig.metric("spot_notice_timestamp_seconds") == []


def test_a_notice_without_a_time_bears_the_time_of_the_news(rig):
    rig.agent.tell_notice("rebalance", "rebalance", None)
    rig.clock.now += 60 * NS_PER_SECOND
    rig.agent.tell_notice("rebalance", "rebalance", None)

    assert rig.metric("spot_notice_timestamp_seconds") == [START // NS_PER_SECOND]
