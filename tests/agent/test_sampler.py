import threading

import pytest

from agent.sampler import Sampler
from collectors.errors import DeviceLost, Unavailable
from collectors.readings import DeviceFacts, XidEvent
from tests.agent.readings import sweep


class FakeClock:
    boot_id = "boot"

    def __init__(self):
        self.now = 0

    def monotonic_ns(self):
        return self.now

    def wall_ns(self):
        return self.now

    def wait(self, event, duration_ns):
        return event.is_set()


class FakeSource:
    """A source that hangs, loses devices and loses its driver when told to."""

    name = "nvml"

    def __init__(self, count=3):
        self.uuids = [f"GPU-{i}" for i in range(count)]
        self.problems = {}
        self.gates = {}
        self.entered = threading.Event()
        self.discoveries = 0
        self.closed = False

    def hang(self, key):
        self.gates[key] = threading.Event()

    def _pass(self, key):
        if gate := self.gates.get(key):
            self.entered.set()
            gate.wait(10)
        if error := self.problems.get(key):
            raise error

    def discover(self):
        self.discoveries += 1
        self._pass("")
        return [DeviceFacts(uuid, i, "H100") for i, uuid in enumerate(self.uuids)]

    def unreadable(self):
        return ["GPU at 00000000:41:00.0 does not answer"]

    def read(self, uuid):
        self._pass(uuid)
        return sweep(1)

    def drain_xids(self):
        return [XidEvent("GPU-1", 79)]

    def close(self):
        self.closed = True


@pytest.fixture
def source():
    return FakeSource()


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def sampler(source, clock):
    made = Sampler(source, clock, 0.5)
    yield made
    for gate in source.gates.values():
        gate.set()
    made.close()


def test_reads_every_device(sampler):
    result = sampler.sweep()

    assert list(result.sweeps) == ["GPU-0", "GPU-1", "GPU-2"]
    assert (result.failures, result.driver_error) == ({}, None)
    assert result.xids == (XidEvent("GPU-1", 79),)
    assert result.unreadable == ("GPU at 00000000:41:00.0 does not answer",)


def test_a_lost_device_leaves_the_others(sampler, source):
    source.problems["GPU-1"] = DeviceLost("GPU-1 has fallen off the bus")

    result = sampler.sweep()

    assert list(result.sweeps) == ["GPU-0", "GPU-2"]
    assert result.failures == {"GPU-1": "GPU-1 has fallen off the bus"}


def test_a_device_that_the_driver_no_longer_lists_is_told(sampler, source):
    sampler.sweep()
    source.problems["GPU-1"] = DeviceLost("gone")
    sampler.sweep()
    source.uuids.remove("GPU-1")

    assert sampler.sweep().failures == {"GPU-1": "the driver no longer lists this device"}


def test_a_call_that_hangs_is_quarantined_and_the_others_go_on(sampler, source):
    sampler.sweep()
    source.hang("GPU-1")

    first, second = sampler.sweep(), sampler.sweep()

    assert list(first.sweeps) == list(second.sweeps) == ["GPU-0", "GPU-2"]
    assert "has not returned" in first.failures["GPU-1"]


def test_a_quarantined_device_comes_back_when_its_call_returns(sampler, source):
    sampler.sweep()
    source.hang("GPU-1")
    sampler.sweep()
    source.gates.pop("GPU-1").set()

    # The abandoned thread reports back as soon as the scheduler lets it.
    for _ in range(1000):
        if "GPU-1" in sampler.sweep().sweeps:
            return
    pytest.fail("GPU-1 never came back")


def test_all_devices_may_hang(sampler, source):
    sampler.sweep()
    for uuid in source.uuids:
        source.hang(uuid)

    assert sampler.sweep().sweeps == {}
    assert set(sampler.sweep().failures) == set(source.uuids)


def test_without_a_driver_there_is_an_error_and_no_device(sampler, source):
    source.problems[""] = Unavailable("install the driver")

    result = sampler.sweep()

    assert (result.sweeps, result.driver_error) == ({}, "install the driver")


def test_begins_once_the_driver_is_there(sampler, source):
    source.problems[""] = Unavailable("install the driver")
    sampler.sweep()
    source.problems.clear()

    assert len(sampler.sweep().sweeps) == 3


def test_a_driver_that_hangs_at_the_start_is_told(sampler, source):
    source.hang("")

    assert "has not returned" in (sampler.sweep().driver_error or "")
    assert "has not returned" in (sampler.sweep().driver_error or "")
    assert source.discoveries == 1


def test_devices_are_looked_for_once_a_minute_and_after_a_failure(sampler, source, clock):
    sampler.sweep()
    sampler.sweep()
    assert source.discoveries == 1
    clock.now += 60 * 10**9
    sampler.sweep()
    assert source.discoveries == 2
    source.problems["GPU-1"] = DeviceLost("gone")
    sampler.sweep()
    sampler.sweep()
    assert source.discoveries == 3


def test_a_defect_in_one_reading_does_not_end_the_sweeps(sampler, source, caplog):
    source.problems["GPU-1"] = ZeroDivisionError("defect")

    assert sampler.sweep().failures == {"GPU-1": "internal error: ZeroDivisionError('defect')"}
    assert list(sampler.sweep().sweeps) == ["GPU-0", "GPU-2"]
    assert "defect" in caplog.text


def test_closes_the_source(source, clock):
    sampler = Sampler(source, clock, 1)
    sampler.sweep()
    sampler.close()

    assert source.closed


def test_does_not_close_a_source_in_which_a_call_hangs(sampler, source):
    sampler.sweep()
    source.hang("GPU-1")
    sampler.sweep()
    sampler.close()

    assert not source.closed


def test_a_device_that_was_never_met_is_named_once(sampler, clock, caplog):
    for _ in range(2):
        sampler.sweep()
        clock.now += 61 * 10**9
    told = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert told == ["left out, and not in any figure: GPU at 00000000:41:00.0 does not answer"]


def test_a_slot_whose_device_is_known_to_be_lost_is_not_named_again(sampler, source, clock, caplog):
    source.unreadable = lambda: ["GPU 2 is lost"] if len(source.uuids) < 3 else []
    sampler.sweep()
    source.uuids.pop()
    clock.now += 61 * 10**9
    sampler.sweep()
    told = [record.getMessage() for record in caplog.records]
    assert [message for message in told if "left out" in message] == []
    assert [message for message in told if message.startswith("GPU-2 does not answer")] != []
