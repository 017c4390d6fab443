"""Who leads, by fake clocks and a Lease in memory: never two that write, and another within a lease's length."""

import threading
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.errors import Misconfigured, Unavailable
from collectors.kube_lease import LeaseState
from controller.lease import Leadership, LeaseSeat, LockFile, Times

TIMES = Times(renew_deadline=10, retry=2)
DURATION = 15


class Clock:
    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now


class OneLease:
    """A Lease as an API server keeps it."""

    def __init__(self):
        self.state = None
        self.version = 0
        self.away = False
        self.races = 0

    def read(self):
        if self.away:
            raise Unavailable("the API server does not answer")
        return self.state

    def write(self, holder, duration_seconds, former):
        if self.away:
            raise Unavailable("the API server does not answer")
        if self.races:
            self.races -= 1
            self.put("another", duration_seconds)
        if former != self.state:
            return False
        self.put(holder, duration_seconds)
        return True

    def put(self, holder, duration_seconds=DURATION):
        self.version += 1
        self.state = LeaseState(holder, duration_seconds, 0, str(self.version))


class Controller:
    """One that stands for election, step by step."""

    def __init__(self, lease, name, clock):
        self.clock = clock
        self.said = []
        self.lost = []
        seat = LeaseSeat(lease, name, DURATION, clock)
        self.leadership = Leadership(
            seat, TIMES, lead=lambda: self.said.append("leads"), lost=self.lost.append, clock=clock
        )

    @property
    def leads(self):
        return self.leadership.leads and not self.lost

    def step(self):
        return self.leadership.step() if not self.lost else False


@pytest.fixture
def rig():
    lease, clock = OneLease(), Clock()
    return lease, clock, Controller(lease, "a", clock), Controller(lease, "b", clock)


def test_the_first_leads_and_the_second_stands_by(rig):
    _, _, first, second = rig
    first.step(), second.step()
    assert (first.leads, second.leads) == (True, False)


def test_another_takes_over_only_after_a_whole_lease_without_renewal(rig):
    _, clock, first, second = rig
    first.step(), second.step()
    clock.now += DURATION - 0.1
    second.step()
    assert not second.leads
    clock.now += 0.2
    second.step()
    assert second.leads


def test_a_renewal_starts_the_wait_anew(rig):
    _, clock, first, second = rig
    first.step(), second.step()
    for _ in range(20):
        clock.now += TIMES.retry
        first.step(), second.step()
    assert (first.leads, second.leads) == (True, False)


def test_a_leader_that_stood_still_ends_before_it_asks_again(rig):
    lease, clock, first, _ = rig
    first.step()
    clock.now += 60
    written = lease.version
    assert not first.step()
    assert first.lost == ["it could not be renewed in time, or this process stood still"]
    assert lease.version == written


def test_a_leader_without_an_api_server_ends_at_the_deadline_and_not_before(rig):
    lease, clock, first, _ = rig
    first.step()
    lease.away = True
    for _ in range(4):
        clock.now += TIMES.retry
        assert first.step()
    clock.now += TIMES.retry
    assert not first.step()
    assert not first.leads


def test_one_lost_race_is_tried_again_and_a_seat_taken_is_lost(rig):
    lease, clock, first, _ = rig
    first.step()
    lease.races = 1
    clock.now += TIMES.retry
    assert first.step()
    assert not first.step()
    assert first.lost == ["another controller holds it"]


def test_a_seat_given_up_is_taken_at_once(rig):
    _, _, first, second = rig
    first.step(), second.step()
    first.leadership._seat.give_up()
    second.step()
    assert second.leads


def test_nothing_is_given_up_that_another_holds(rig):
    lease, _, first, second = rig
    first.step()
    lease.put("b")
    first.leadership._seat.give_up()
    assert lease.state.holder == "b"
    assert not second.leads


def test_a_lease_of_a_longer_kind_is_waited_for(rig):
    lease, clock, _, second = rig
    lease.put("another", 600)
    second.step()
    clock.now += 599
    second.step()
    assert not second.leads
    clock.now += 2
    second.step()
    assert second.leads


def test_leading_begins_once(rig):
    _, clock, first, _ = rig
    for _ in range(5):
        clock.now += 1
        first.step()
    for thread in threading.enumerate():
        if thread.name == "lead":
            thread.join(5)
    assert first.said == ["leads"]


STEPS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.floats(0.1, 30), st.booleans(), st.integers(-500, 500)), max_size=60
)


@settings(max_examples=200)
@given(STEPS)
def test_never_do_two_hold_the_seat_whatever_stands_still_or_is_away(steps):
    """Clocks run alike and begin anywhere; each process steps when it is let, the server is away at times."""
    lease = OneLease()
    clocks = {name: Clock(start) for name, start in {"a": 0.0, "b": 5e6, "c": -70.0}.items()}
    controllers = {name: Controller(lease, name, clock) for name, clock in clocks.items()}
    for name, seconds, away, _ in steps:
        for clock in clocks.values():
            clock.now += seconds
        lease.away = away
        controllers[name].step()
        assert sum(each.leads for each in controllers.values()) <= 1


def test_one_process_of_a_machine_holds_the_lock(tmp_path):
    first, second = LockFile(tmp_path / "ledger/leader.lock"), LockFile(tmp_path / "ledger/leader.lock")
    assert (first.try_once(), second.try_once(), first.try_once()) == ("ours", "others", "ours")
    first.give_up()
    assert second.try_once() == "ours"
    second.give_up()


def test_a_lock_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured, match="the controller must be able to write there"):
        LockFile(tmp_path / "file/leader.lock")


def test_what_is_seen_is_compared_whole():
    state = LeaseState("a", 15, 0, "7")
    assert replace(state, version="8") != state
