"""The fake driver in this process, initialised, on an injected clock."""

import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

from tests.fakedriver.driver import FakeDriver
from tests.fakedriver.profiles import DeviceProfile

SECOND = 1_000_000_000
START_NS = 1000 * SECOND


@contextlib.contextmanager
def loaded(directory: Path, *devices: DeviceProfile, **options: Any) -> Generator[tuple[FakeDriver, Any]]:
    """A driver with these devices and pynvml initialised on it; options as :meth:`FakeDriver.create` has them."""
    wanted: Any = {"start_ns": START_NS} | options
    with FakeDriver.create(directory, devices, **wanted) as driver, driver.load_into_pynvml() as pynvml:
        pynvml.nvmlInit()
        yield driver, pynvml
