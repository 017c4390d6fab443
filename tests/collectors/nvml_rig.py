"""A source on the fake driver, whose clock is the driver's own."""

import contextlib
import threading
import time

from collectors import nvml_events
from collectors.nvml import NvmlSource
from tests.fakedriver.driver import FakeDriver


class DriverClock:
    """The injected clock of the fake driver, so that stamps, samples and energy speak of the same time."""

    boot_id = "boot"

    def __init__(self, driver):
        self._driver = driver

    def monotonic_ns(self):
        return self._driver.now_ns()

    def wall_ns(self):
        return self._driver.wall_ns()

    def wait(self, event, duration_ns):
        return event.wait(0)


class Rig:
    """A fake driver and a source that reads it."""

    def __init__(self, driver, source):
        self.driver = driver
        self.source = source

    def discover(self):
        return self.source.discover()

    def sweep(self, index=0, seconds=0):
        self.driver.advance(seconds=seconds)
        return self.source.read(self.driver.device(index).uuid)

    def reading(self, index=0, seconds=0):
        return self.sweep(index, seconds).device


nvml_events.WAIT_MS = 20  # so that closing a source does not wait for half a second in each test


@contextlib.contextmanager
def nvml_rig(directory, devices, *, gpm=True, answer_seconds=60.0, discover=True, **driver_options):
    driver = FakeDriver.create(directory, devices, start_ns=1_000_000_000, **driver_options)
    with driver, driver.load_into_pynvml():
        source = NvmlSource(DriverClock(driver), gpm=gpm, answer_seconds=answer_seconds)
        rig = Rig(driver, source)
        try:
            if discover:
                rig.discover()
            yield rig
        finally:
            driver.release()
            for device in driver.devices:
                device.release()
            source.close()


def eventually(condition, seconds=60.0):
    """Wait, in real time, for what another thread does."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it never came true"
        time.sleep(0.005)


def in_thread(call):
    """Run ``call`` beside the test; the thread's ``outcome`` holds its answer or its error."""

    class Runner(threading.Thread):
        outcome = None

        def run(self):
            try:
                self.outcome = call()
            except Exception as error:  # noqa: BLE001  (the test looks at it)
                self.outcome = error

    runner = Runner(daemon=True)
    runner.start()
    return runner
