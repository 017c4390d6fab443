"""What each reading closes, told by example; the laws over any sequence stand in test_law_balance.py."""

from dataclasses import replace

import pytest

from agent.accountant import Accountant
from agent.books import Books, DeviceMeter
from agent.holdings import Holdings
from agent.hour_clock import HourClock
from agent.settings import AgentSettings
from collectors.clock import NS_PER_HOUR, NS_PER_SECOND
from collectors.holder import Holder
from collectors.readings import Activity, DeviceSweep, MigFacts
from ledger.hours import PriceNote
from tests.agent.readings import FACTS, reading

WALL = 500_000 * NS_PER_HOUR + 1800 * NS_PER_SECOND
HOLDERS = {1: Holder("container", "a"), 2: Holder("container", "b")}
PRICE = ("p", PriceNote(3_600_000_000, "config", "2026-01-01", "on_demand", False))


class Rig:
    """An accountant whose entries are applied at once, and a wall clock that can be moved."""

    def __init__(self, price=PRICE, **settings):
        self.books = Books("boot", [(0, WALL)])
        self.price = price
        self.settings = AgentSettings(**settings)
        self.wall_offset = WALL
        self.restart()

    def restart(self):
        clock = HourClock(self.books.segments)
        self.accountant = Accountant(self.settings, self.books, clock, lambda _: self.price)

    def sweep(self, seconds, **more):
        return self.read(seconds, DeviceSweep(reading(seconds, **more)))

    def read(self, seconds, device_sweep):
        now_ns = int(seconds * NS_PER_SECOND)
        sweeps = {device_sweep.device.device.uuid: device_sweep} if device_sweep else {}
        entries = self.accountant.book(now_ns, now_ns + self.wall_offset, sweeps, Holdings(HOLDERS))
        for entry in entries:
            self.books.apply(entry)
        return entries

    def sums(self):
        """(seconds, joules) by account."""
        found = {}
        for key, meter in self.books.meters.items():
            seconds, joules = found.get(key.account, (0, 0))
            found[key.account] = (seconds + meter.gpu_ns / 1e9, joules + meter.energy_mj / 1000)
        return found


@pytest.fixture
def rig():
    return Rig()


def test_the_first_reading_only_sets_the_base(rig):
    rig.sweep(0, pids=[1], activity=1.0, energy_mj=5_000_000)

    assert rig.sums() == {}
    assert rig.books.bases["GPU-1"].energy_mj == 5_000_000


def test_an_interval_between_two_readings_is_attributed(rig):
    rig.sweep(0, pids=[1], energy_mj=0)
    rig.sweep(10, pids=[1], activity=0.5, energy_mj=4000)

    assert rig.sums() == {"active": (5, 4), "idle": (5, 0)}


def test_the_control_figures_come_from_clock_and_counter(rig):
    rig.sweep(0, energy_mj=0)
    rig.sweep(10, energy_mj=4000)

    device = rig.books.devices["GPU-1"]
    assert (device.accounted_ns, device.energy_mj) == (10 * NS_PER_SECOND, 4000)
    assert device.cost_numerator == 10 * NS_PER_SECOND * 3_600_000_000


def test_a_device_that_does_not_answer_is_unobserved_and_its_energy_comes_with_its_return(rig):
    rig.sweep(0, pids=[1], energy_mj=0)
    rig.read(10, None)
    rig.read(20, None)
    assert rig.sums() == {"unobserved": (20, 0)}
    rig.sweep(25, pids=[1], activity=1.0, energy_mj=9000)
    assert rig.sums() == {"unobserved": (25, 9)}
    rig.sweep(26, pids=[1], activity=1.0, energy_mj=9500)
    assert rig.sums() == {"unobserved": (25, 9), "active": (1, 0.5)}


def test_time_in_which_the_agent_was_away_is_unobserved_by_the_counter(rig):
    rig.sweep(0, pids=[1], energy_mj=0)
    rig.restart()
    rig.sweep(300, pids=[1], activity=1.0, energy_mj=90_000)

    assert rig.sums() == {"unobserved": (300, 90)}


def test_an_absence_over_full_hours_is_split_over_them(rig):
    rig.sweep(0, energy_mj=0)
    rig.restart()
    rig.sweep(2 * 3600, energy_mj=7200)

    hours = [(book.devices["GPU-1"].accounted_ns // 10**9, book.devices["GPU-1"].energy_mj) for book in _hours(rig)]
    assert hours == [(1800, 1800), (3600, 3600), (1800, 1800)]


def _hours(rig):
    return [book for _, book in sorted(rig.books.hours.items())]


def test_every_hour_lived_through_has_3600_seconds(rig):
    for seconds in range(0, 4 * 3600 + 1, 7):
        rig.sweep(seconds, energy_mj=seconds)

    assert [book.devices["GPU-1"].accounted_ns for book in _hours(rig)][1:-1] == [NS_PER_HOUR] * 3


def test_a_counter_that_fell_counts_from_zero(rig):
    rig.sweep(0, pids=[1], energy_mj=50_000)
    rig.sweep(10, pids=[1], activity=1.0, energy_mj=2000)

    assert rig.sums() == {"active": (10, 2)}


def test_a_driver_loaded_anew_counts_from_zero_even_where_the_counter_did_not_fall(rig):
    rig.sweep(100, pids=[1], energy_mj=1000, driver_uptime_ns=100 * NS_PER_SECOND)
    rig.read(110, None)
    rig.sweep(200, pids=[1], energy_mj=3000, driver_uptime_ns=60 * NS_PER_SECOND)

    assert rig.sums() == {"unobserved": (100, 3)}


def test_the_driver_s_own_clock_may_drift_without_a_reload(rig):
    rig.sweep(100, pids=[1], energy_mj=1000, driver_uptime_ns=100 * NS_PER_SECOND)
    rig.sweep(200, pids=[1], activity=1.0, energy_mj=3000, driver_uptime_ns=197 * NS_PER_SECOND)

    assert rig.sums() == {"active": (100, 2)}


def test_a_silent_energy_counter_is_booked_when_it_speaks_again_and_not_to_one_interval(rig):
    rig.sweep(0, pids=[1], activity=1.0, energy_mj=0)
    rig.sweep(10, pids=[1], activity=1.0, energy_mj=None)
    rig.sweep(20, pids=[1], activity=1.0, energy_mj=8000)

    assert rig.sums() == {"active": (20, 0), "unobserved": (0, 8)}


def test_a_chip_without_energy_counter_integrates_power_to_the_millijoule(rig):
    for tenth in range(31):
        rig.sweep(tenth / 10, pids=[1], activity=1.0, energy_mj=None, watts=33.3333)

    assert rig.books.devices["GPU-1"].energy_mj == 99_999
    assert {key.energy_method for book in _hours(rig) for key in book.rows} == {"integrated"}


def test_without_counter_and_power_energy_is_absent_not_zero(rig):
    rig.sweep(0, energy_mj=None)
    rig.sweep(10, energy_mj=None)

    assert rig.books.devices["GPU-1"].energy_mj is None


def test_a_reading_that_cannot_be_true_is_booked_as_unmeasured(rig):
    rig.sweep(0, pids=[1], energy_mj=0)
    rig.sweep(10, pids=[1], activity=Activity(duty_cycle=1.7), energy_mj=4000)

    assert rig.sums() == {"unmeasured": (10, 4)}
    assert rig.accountant.views["GPU-1"].flags == ("activity_range",)


def test_idle_power_is_learnt_and_kept_over_a_restart(rig):
    for seconds in range(62):
        rig.sweep(seconds, pids=[1], activity=0.0, energy_mj=seconds * 70_000)
    assert rig.books.idle_mw == {"GPU-1": 70_000}
    rig.restart()
    rig.sweep(62, pids=[1], energy_mj=62 * 70_000)
    rig.sweep(63, pids=[1], activity=0.5, energy_mj=62 * 70_000 + 300_000)

    assert rig.sums()["active"] == (0.5, 265)


def test_a_device_never_seen_idle_takes_the_idle_power_of_its_model_and_says_so(rig):
    rig.books.idle_mw["GPU-2"], rig.books.idle_mw["GPU-3"] = 70_000, 20_000
    rig.books.devices["GPU-2"] = DeviceMeter(FACTS.name)
    rig.books.devices["GPU-3"] = DeviceMeter("Tesla T4")
    rig.sweep(0, pids=[1], energy_mj=0)
    rig.sweep(1, pids=[1], activity=0.5, energy_mj=300_000)

    assert rig.sums() == {"active": (0.5, 265), "idle": (0.5, 35)}
    assert {key.energy_method for key in _hours(rig)[0].rows} == {"idle_model"}


def test_a_wall_clock_that_steps_back_costs_no_time(rig):
    rig.sweep(0, energy_mj=0)
    rig.wall_offset -= 3600 * NS_PER_SECOND
    (entry,) = rig.sweep(10, energy_mj=1)
    rig.sweep(20, energy_mj=2)

    assert [(s.from_wall_ns - WALL, s.to_wall_ns - WALL) for s in entry.steps] == [
        (10 * NS_PER_SECOND, (10 - 3600) * NS_PER_SECOND)
    ]
    assert [book.devices["GPU-1"].accounted_ns for book in _hours(rig) if book.devices] == [10 * NS_PER_SECOND] * 2
    assert rig.books.devices["GPU-1"].accounted_ns == 20 * NS_PER_SECOND


def test_a_reading_that_is_not_later_than_the_books_changes_nothing(rig):
    rig.sweep(10, energy_mj=1000)
    rig.sweep(20, energy_mj=2000)
    before = rig.sums()
    rig.sweep(15, energy_mj=1500)

    assert rig.sums() == before
    rig.sweep(21, energy_mj=2100)
    assert rig.books.devices["GPU-1"].accounted_ns == 11 * NS_PER_SECOND


def test_without_a_price_there_is_no_cost(rig):
    rig = Rig(price=None)
    rig.sweep(0, energy_mj=0)
    rig.sweep(10, energy_mj=1)

    assert rig.books.devices["GPU-1"].cost_numerator is None
    assert {meter.cost_numerator for meter in rig.books.meters.values()} == {None}


def test_a_lost_device_is_booked_at_the_price_it_had(rig):
    rig.sweep(0, energy_mj=0)
    rig.sweep(10, energy_mj=1)
    rig.restart()
    rig.read(20, None)

    assert rig.books.devices["GPU-1"].cost_numerator == 20 * NS_PER_SECOND * 3_600_000_000


def test_after_a_reboot_counters_begin_at_zero_and_the_gap_stands_in_its_hours():
    rig = Rig()
    rig.sweep(0, pids=[1], energy_mj=0)
    rig.sweep(10, pids=[1], activity=1.0, energy_mj=5000)
    former_clock = HourClock(rig.books.segments)
    now_wall = WALL + 610 * NS_PER_SECOND
    former = rig.accountant.book_former_boot(dict(rig.books.bases), former_clock, now_wall)
    rig.books.apply(former)
    rig.books.begin_boot("next", [(60 * NS_PER_SECOND, now_wall - 60 * NS_PER_SECOND)])
    rig.wall_offset = now_wall - 60 * NS_PER_SECOND
    rig.restart()
    rig.sweep(70, pids=[1], energy_mj=1200, driver_uptime_ns=50 * NS_PER_SECOND)
    rig.sweep(71, pids=[1], activity=1.0, energy_mj=1500, driver_uptime_ns=51 * NS_PER_SECOND)

    assert rig.sums() == {"unobserved": (10, 0), "active": (1, 0.3)}
    (book,) = _hours(rig)
    assert (book.devices["GPU-1"].accounted_ns, book.devices["GPU-1"].energy_mj) == (621 * NS_PER_SECOND, 6500)


def test_a_device_that_did_not_come_back_after_a_reboot_is_let_go_after_ten_minutes(rig):
    rig.read(0, DeviceSweep(reading(0, device=replace(FACTS, uuid="GPU-2"))))
    rig.sweep(0)
    rig.books.begin_boot("next", [(0, WALL)])
    rig.restart()
    rig.sweep(0)
    rig.sweep(599)
    assert rig.books.bases.keys() == {"GPU-1", "GPU-2"}
    rig.sweep(601)
    rig.sweep(700)

    assert rig.books.bases.keys() == {"GPU-1"}
    assert rig.books.devices["GPU-2"].accounted_ns == 601 * NS_PER_SECOND


def test_devices_are_known_by_uuid_not_by_index(rig):
    rig.sweep(0, energy_mj=0)
    rig.read(10, DeviceSweep(reading(10, energy_mj=1000, device=replace(FACTS, index=5))))

    assert rig.books.devices["GPU-1"].energy_mj == 1000


def test_slices_that_no_profile_can_use_are_unallocated_by_a_method_of_their_own():
    rig = Rig()
    halves = tuple(
        replace(reading(0, pids=[pid], activity=1.0), energy_mj=None, mig=MigFacts(f"MIG-{pid}", pid, 0, "3g", 3, 7))
        for pid in (1, 2)
    )
    for second in (0, 7):
        device = reading(second, activity=Activity(), mig_enabled=True, energy_mj=70_000 * second)
        rig.read(second, DeviceSweep(device, halves, stranded_slices=1))

    spent = {(key.account, key.method): meter.gpu_ns // NS_PER_SECOND for key, meter in rig.books.meters.items()}
    assert spent == {("active", "mig_slices"): 3, ("unallocated", "stranded"): 1}
    assert sum(meter.gpu_ns for meter in rig.books.meters.values()) == 7 * NS_PER_SECOND
    assert sum(meter.energy_mj for meter in rig.books.meters.values()) == 490_000
