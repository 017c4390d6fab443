"""The NVIDIA driver as a source of readings, through nvidia-ml-py.

Owns the driver's life: initializing it, the devices there are, starting over after a reload. Never sets anything on a
device and never calls a function that does.

A driver that goes away takes every handle with it: the next discovery shuts NVML down, initializes it again and meets
every device anew, with no fact, handle or sample of before. A device that is lost is dropped alone.
"""

import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import count

import pynvml

from collectors.clock import Clock
from collectors.errors import DeviceLost, SourceError, Unavailable
from collectors.nvml_device import DeviceReader
from collectors.nvml_errors import DriverGone
from collectors.nvml_events import Watched, XidListener
from collectors.nvml_facts import Slot, count_links, driver_version, major_of, read_facts
from collectors.nvml_gpm import GpmFunctions, supports_gpm
from collectors.nvml_guard import Guard, StillHanging
from collectors.nvml_library import Library, initialize, must, shut_down
from collectors.readings import DeviceFacts, DeviceSweep, SourceName, XidEvent

ANSWER_SECONDS = 10.0
"""How long discovery waits for one call; a device without persistence mode takes seconds to wake."""
LEAVE_SECONDS = 2.0
"""How long the XID thread may take to leave the driver; its wait there is shorter."""
RETIRE_SECONDS = 0.25
"""How long a reading under way may take to end before the driver is shut down under it."""
_ATTEMPTS = 2
_LOG = logging.getLogger(__name__)


class _Session:
    """From one initialization of the driver to its end."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.library = Library()
        self.driver = driver_version()
        self.readers: dict[str, DeviceReader] = {}
        self.gone = False

    def hanging_at(self, index: int) -> DeviceReader | None:
        return next((one for one in self.readers.values() if one.facts.index == index and one.busy), None)


class NvmlSource:
    """Reads the NVIDIA GPUs of this machine.

    Args:
        clock: stamps the readings and spaces GPM samples and retries.
        gpm: use GPM (Hopper and newer) for activity beyond the duty cycle and for link rates.
        answer_seconds: how long :meth:`discover` waits for one driver call before it reports the device as hanging.
    """

    def __init__(self, clock: Clock, *, gpm: bool = True, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._clock = clock
        self._use_gpm = gpm
        self._numbers = count(1)
        self._appearances = count(1)
        self._calls: Guard[None] = Guard(answer_seconds)
        self._counts: Guard[int] = Guard(answer_seconds)
        self._slots: Guard[DeviceReader] = Guard(answer_seconds)
        self._discovering = threading.Lock()
        self._dropping = threading.Lock()
        self._session: _Session | None = None
        self._unreadable: tuple[str, ...] = ()
        self._listener = XidListener(Library())

    @property
    def name(self) -> SourceName:
        """``nvml``."""
        return "nvml"

    def discover(self) -> Sequence[DeviceFacts]:
        """The devices that answer now, in the driver's order; starts over with a driver that was reloaded.

        Raises:
            Unavailable: no library, no driver, or it hangs; the message holds the remedy.
        """
        with self._discovering:
            for attempt in range(1, _ATTEMPTS + 1):
                session = self._current_session()
                try:
                    return self._meet(session)
                except DriverGone:
                    session.gone = True
                    if attempt == _ATTEMPTS:
                        raise
        raise AssertionError  # pragma: no cover  (the last attempt returns or raises)

    def unreadable(self) -> Sequence[str]:
        """Why each device slot that the last :meth:`discover` left out could not be identified."""
        return self._unreadable

    def read(self, uuid: str) -> DeviceSweep:
        """One device and its MIG instances, in one pass.

        Raises:
            DeviceLost: this device does not answer; the others do.
            Unavailable: the driver does not; :meth:`discover` starts it over.
        """
        session = self._session
        if session is None or session.gone:
            raise Unavailable("NVIDIA driver: not initialized, or gone since; the next discovery initializes it")
        reader = session.readers.get(uuid)
        if reader is None:
            raise DeviceLost(f"GPU {uuid}: not among the devices that the driver last listed")
        try:
            return reader.read()
        except DriverGone:
            session.gone = True
            raise
        except DeviceLost:
            if not reader.busy:
                self._drop(session, reader)
            raise

    def drain_xids(self) -> Sequence[XidEvent]:
        """XIDs that came in since the last call."""
        return self._listener.drain()

    def close(self) -> None:
        """Let go of the driver and end the XID thread."""
        with self._discovering:
            self._listener.close(LEAVE_SECONDS)
            self._end_session()

    def _current_session(self) -> _Session:
        if self._session is not None and not self._session.gone:
            return self._session
        self._end_session()
        self._calls.run("nvmlInit", initialize)
        self._session = _Session(next(self._numbers))
        return self._session

    def _end_session(self) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        session.gone = True
        self._listener.let_go(LEAVE_SECONDS)
        for reader in session.readers.values():
            reader.retire(RETIRE_SECONDS)
        try:
            self._calls.run("nvmlShutdown", shut_down)
        except StillHanging:
            _LOG.warning("nvmlShutdown waits behind a call that hangs; initializing the driver beside it")

    def _meet(self, session: _Session) -> tuple[DeviceFacts, ...]:
        """Look at every slot; a device that hangs or is lost costs only itself."""
        met: list[DeviceReader] = []
        unreadable: list[str] = []
        number = self._counts.run("nvmlDeviceGetCount", lambda: must("NVIDIA driver", pynvml.nvmlDeviceGetCount))
        for index in range(number):
            try:
                met.append(session.hanging_at(index) or self._identify(session, index))
            except DriverGone:
                raise
            except SourceError as error:
                unreadable.append(str(error))
        readers, twins = _told_apart(met)
        strangers = [one for each in twins.values() for one in each if session.readers.get(one.facts.uuid) is not one]
        self._take_over(session, readers)
        for reader in strangers:
            reader.retire(0)
        self._unreadable = (*unreadable, *(_of_twins(uuid, each) for uuid, each in twins.items()))
        return tuple(reader.facts for reader in readers.values())

    def _identify(self, session: _Session, index: int) -> DeviceReader:
        """Ask the slot in a thread of its own, since a driver may hang on any call to a sick device."""
        name = f"GPU {index}" if session.number == 1 else f"GPU {index} (driver load {session.number})"
        return self._slots.run(name, lambda: self._reader_at(session, index))

    def _reader_at(self, session: _Session, index: int) -> DeviceReader:
        slot = Slot(index)
        known = session.readers.get(slot.uuid)
        if known is None or known.handle != slot.address:
            return self._new_reader(session, slot)
        known.facts = replace(known.facts, index=index)
        known.ask_anew()
        return known

    def _new_reader(self, session: _Session, slot: Slot) -> DeviceReader:
        library = session.library
        links = count_links(library, slot)
        facts = read_facts(library, slot, session.driver, links)
        has_gpm = self._use_gpm and supports_gpm(library, slot.address, f"GPU {slot.index} {slot.uuid}")
        return DeviceReader(
            library,
            self._clock,
            facts,
            slot.address,
            gpm=GpmFunctions.of(library) if has_gpm else None,
            driver_major=major_of(session.driver),
            links=links,
            appearance=next(self._appearances),
        )

    def _take_over(self, session: _Session, readers: dict[str, DeviceReader]) -> None:
        with self._dropping:
            left_out = [one for uuid, one in session.readers.items() if readers.get(uuid) is not one]
            session.readers = readers
        for reader in left_out:
            reader.retire(0)
        self._listener.watch([Watched(one.handle, one.facts.uuid, one.appearance) for one in readers.values()])

    def _drop(self, session: _Session, lost: DeviceReader) -> None:
        with self._dropping:
            session.readers = {uuid: one for uuid, one in session.readers.items() if one is not lost}
        lost.retire(0)


def _told_apart(met: Iterable[DeviceReader]) -> tuple[dict[str, DeviceReader], dict[str, list[DeviceReader]]]:
    """The devices by UUID, and apart from them those that share one: whose work they show nobody can tell."""
    by_uuid: dict[str, list[DeviceReader]] = {}
    for reader in met:
        by_uuid.setdefault(reader.facts.uuid, []).append(reader)
    alone = {uuid: readers[0] for uuid, readers in by_uuid.items() if len(readers) == 1}
    return alone, {uuid: readers for uuid, readers in by_uuid.items() if len(readers) > 1}


def _of_twins(uuid: str, readers: Iterable[DeviceReader]) -> str:
    names = " and ".join(f"GPU {reader.facts.index}" for reader in readers)
    return f"{names}: all say that they are {uuid}, so none of them is read; reboot, and replace one if they go on"
