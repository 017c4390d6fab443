"""The node agent: one sweep after another, each attributed, saved, and only then shown.

Owns the loop and the lock around the books. Everything it works with is given to it; it builds nothing.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from agent.accountant import Accountant
from agent.budget import CpuBudget
from agent.entry import Entry
from agent.holdings import Holdings
from agent.hour_notes import HourNotes
from agent.profile import ProfileBook
from agent.sampler import Sampler, SweepResult
from agent.serving import Serving
from agent.settings import AgentSettings
from agent.snapshot import CollectorRunner, Snapshot
from agent.store import StateStore
from collectors.clock import NS_PER_HOUR, NS_PER_SECOND, Clock
from collectors.errors import SourceError, Unavailable
from collectors.holder import Holder
from collectors.host import HolderUsage, HostReading
from collectors.readings import DeviceSweep

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_HOST_EVERY_NS = 5 * NS_PER_SECOND
_USAGE_EVERY_NS = 15 * NS_PER_SECOND
_HOUSEKEEPING_NS = 60 * NS_PER_SECOND


class HolderSource(Protocol):
    """Tells who holds what."""

    def holdings(self, pids: Collection[int]) -> Holdings:
        """What is known now, for the processes on the devices."""
        ...


class HostReader(Protocol):
    """Reads the host around the GPUs."""

    def read(self) -> HostReading:
        """One reading."""
        ...


class UsageReader(Protocol):
    """Reads what holders use of the host."""

    def read(self, holders: Mapping[Holder, Collection[int]]) -> Mapping[Holder, HolderUsage]:
        """Cumulative use by holder."""
        ...


@dataclass(slots=True)
class Parts:
    """What an agent is made of."""

    settings: AgentSettings
    clock: Clock
    sampler: Sampler
    holders: HolderSource
    store: StateStore
    accountant: Accountant
    budget: CpuBudget
    interval_ns: Callable[[int], int]
    """From the interval wished for to the one to keep now (a simulation that runs fast sweeps less often)."""
    host: HostReader | None = None
    usage: UsageReader | None = None
    fill: Callable[[DeviceSweep], DeviceSweep] | None = None
    """Fills what the source lacks, from a dcgm-exporter."""
    serving: Serving | None = None
    """Reads what holders produce from their own pages."""
    notes: HourNotes | None = None
    """Notes who holders and node are beside their figures in the journal."""


@dataclass(slots=True)
class NodeAgent:
    """The agent of one node. :meth:`run` in one thread; the others read :attr:`snapshot` and lock for the books."""

    parts: Parts
    collectors: CollectorRunner = field(default_factory=CollectorRunner)
    profile: ProfileBook = field(default_factory=ProfileBook)
    lock: threading.Lock = field(default_factory=threading.Lock)
    snapshot: Snapshot | None = None
    xids: dict[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])
    clock_steps: int = 0
    notice: tuple[str, str, float] | None = None
    """The cloud's notice that it will take the node away: kind, action, Unix time (of the event, else of the news)."""
    _read_ns: dict[str, int] = field(default_factory=dict[str, int])
    _host: HostReading | None = None
    _usage: Mapping[Holder, HolderUsage] = field(default_factory=dict[Holder, HolderUsage])
    _due_host: int = 0
    _due_usage: int = 0
    _due_sync: int = 0
    _due_housekeeping: int = 0

    def run(self, stop: threading.Event) -> None:
        """Sweep until ``stop`` is set, then close the books in order."""
        clock = self.parts.clock
        next_ns = clock.monotonic_ns()
        self._load_profile()
        while not stop.is_set():
            self.sweep()
            next_ns = max(next_ns + self.interval_ns(), clock.monotonic_ns())
            clock.wait(stop, next_ns - clock.monotonic_ns())
        self.close()

    def interval_ns(self) -> int:
        """The sweep interval in force."""
        wished = int(self.parts.settings.interval_seconds * NS_PER_SECOND) * self.parts.budget.factor
        return self.parts.interval_ns(wished)

    def sweep(self) -> None:
        """One sweep: read, attribute, save, show."""
        parts, clock = self.parts, self.parts.clock
        began = time.perf_counter()
        result = parts.sampler.sweep()
        sweeps = result.sweeps
        if parts.fill is not None:
            sweeps = {uuid: parts.fill(sweep) for uuid, sweep in sweeps.items()}
        now_ns, wall_ns = clock.monotonic_ns(), clock.wall_ns()
        self._read_host(now_ns)
        pids = {p.pid for sweep in sweeps.values() for part in (sweep.device, *sweep.instances) for p in part.processes}
        holdings = self._collect("holders", now_ns, lambda: parts.holders.holdings(pids)) or Holdings()
        self._note_source(result, now_ns, time.perf_counter() - began)
        with self.lock:
            entries = parts.accountant.book(now_ns, wall_ns, sweeps, holdings)
            self.clock_steps += sum(len(entry.steps) for entry in entries)
            self._book_work(entries[-1], now_ns, wall_ns)
            parts.store.save(entries)
            self._note_hours(now_ns)
            self._profile(sweeps, now_ns)
            self._close_hours(now_ns)
            self._weigh_work(result, now_ns)
            self._show(result, now_ns, wall_ns, time.perf_counter() - began)
        self._read_usage(now_ns, pids, holdings.by_pid)
        self._keep_house(now_ns)
        if parts.budget.observe(now_ns):
            _log.warning("sweep interval is now %.1f s, to keep the budget", self.interval_ns() / NS_PER_SECOND)

    def tell_notice(self, kind: str, action: str, time_seconds: float | None) -> None:
        """Take what the cloud announces, an empty kind for nothing; without a time it bears that of the news."""
        known = self.notice is not None and self.notice[:2] == (kind, action)
        if not kind:
            self.notice = None
        elif time_seconds is not None or not known:
            self.notice = kind, action, time_seconds or self.parts.clock.wall_ns() / NS_PER_SECOND

    def close(self) -> None:
        """Save everything and let go of source and directory."""
        with self.lock:
            self._save_profile()
            self.parts.store.close()
        self.parts.sampler.close()

    def _show(self, result: SweepResult, now_ns: int, wall_ns: int, duration_seconds: float) -> None:
        parts = self.parts
        views = {uuid: view for uuid, view in parts.accountant.views.items() if uuid in result.sweeps}
        self._read_ns.update({uuid: view.sweep.device.read_ns for uuid, view in views.items()})
        interval = self.interval_ns()
        self.snapshot = Snapshot(
            number=(self.snapshot.number if self.snapshot else 0) + 1,
            finished_ns=now_ns,
            wall_ns=wall_ns,
            duration_seconds=duration_seconds,
            interval_ns=interval,
            stretched=parts.budget.factor > 1,
            views=views,
            facts=dict(parts.sampler.facts),
            failures=result.failures,
            read_ns=dict(self._read_ns),
            driver_error=result.driver_error,
            unreadable=result.unreadable,
            host=self._host,
            usage=self._usage,
        )

    def _book_work(self, entry: Entry, now_ns: int, wall_ns: int) -> None:
        serving = self.parts.serving
        # Counters go on by themselves: while the disk refuses, their pages wait too, and nothing is lost.
        if serving is None or self.parts.store.waiting:
            return
        began = time.perf_counter()
        failure = serving.book(entry, wall_ns)
        self.collectors.note("serving", now_ns, time.perf_counter() - began, failure)

    def _note_hours(self, now_ns: int) -> None:
        notes, store = self.parts.notes, self.parts.store
        if notes is None or store.waiting:
            return
        learnt = notes.learnt(self.parts.accountant.books, self._hour(now_ns), now_ns, self._host)
        if learnt is not None:
            store.save([learnt])

    def _weigh_work(self, result: SweepResult, now_ns: int) -> None:
        if self.parts.serving is not None and not self.parts.store.waiting:
            views = self.parts.accountant.views
            self.parts.serving.observe(now_ns, {uuid: views[uuid] for uuid in result.sweeps if uuid in views})

    def _note_source(self, result: SweepResult, now_ns: int, duration_seconds: float) -> None:
        error = result.driver_error or "; ".join([*result.failures.values(), *result.unreadable]) or None
        if self.collectors.note("gpu", now_ns, duration_seconds, error) and result.driver_error:
            _log.warning("%s", result.driver_error)
        for event in result.xids:
            key = event.device_uuid, event.xid
            self.xids[key] = self.xids.get(key, 0) + 1
            _log.warning("XID %d on %s", event.xid, event.device_uuid)

    def _read_host(self, now_ns: int) -> None:
        if self.parts.host is None or now_ns < self._due_host:
            return
        self._due_host = now_ns + _HOST_EVERY_NS
        self._host = self._collect("host", now_ns, self.parts.host.read)

    def _read_usage(self, now_ns: int, pids: Collection[int], holders: Mapping[int, Holder]) -> None:
        if self.parts.usage is None or now_ns < self._due_usage:
            return
        self._due_usage = now_ns + _USAGE_EVERY_NS
        usage = self.parts.usage
        by_holder: dict[Holder, list[int]] = {}
        for pid in pids:
            if pid in holders:
                by_holder.setdefault(holders[pid], []).append(pid)
        found = self._collect("holder_usage", now_ns, lambda: usage.read(by_holder))
        if found is not None:
            self._usage = found
            self.profile.observe_usage(self._hour(now_ns), found)

    def _profile(self, sweeps: Mapping[str, DeviceSweep], now_ns: int) -> None:
        iowait = self._host.cpu_iowait_ratio if self._host else None
        hour_s = self._hour(now_ns)
        for uuid in sweeps:
            self.profile.observe(hour_s, self.parts.accountant.views[uuid], iowait)

    def _hour(self, now_ns: int) -> int:
        return self.parts.accountant.hour_clock.wall_at(now_ns) // NS_PER_HOUR * 3600

    def _close_hours(self, now_ns: int) -> None:
        books, current = self.parts.accountant.books, self._hour(now_ns)
        if books.hours.keys() <= {current}:
            return
        serving = self.parts.serving
        if serving is not None and serving.awaits_pages(current, self.parts.accountant.hour_clock.wall_at(now_ns)):
            return
        for hour_s in self.profile.hours() - {current}:
            if hour_s in books.hours:
                books.hours[hour_s].profile.extend(self.profile.take(hour_s))
        self.parts.store.close_hours_but(current)

    def _keep_house(self, now_ns: int) -> None:
        parts = self.parts
        if now_ns >= self._due_sync:
            self._due_sync = now_ns + int(parts.settings.fsync_seconds * NS_PER_SECOND)
            self._try(parts.store.sync)
            self._save_profile()
        if now_ns >= self._due_housekeeping:
            self._due_housekeeping = now_ns + _HOUSEKEEPING_NS
            with self.lock:
                present, before_ns = self._present(), self._finished_before(now_ns)
                parts.store.retire(self.parts.accountant.books.finished(present, before_ns))
                self._retire_workers(present, before_ns)
            oldest_s = self._hour(now_ns) - parts.settings.journal_days * 86400
            self._try(lambda: parts.store.journal.prune(oldest_s))

    def _present(self) -> set[tuple[str, str]]:
        return {
            (use.holder.kind, use.holder.name)
            for view in self.parts.accountant.views.values()
            for use in view.uses
            if use.holder is not None
        }

    def _finished_before(self, now_ns: int) -> int:
        return now_ns - int(self.parts.settings.finished_holder_seconds * NS_PER_SECOND)

    def _retire_workers(self, present: set[tuple[str, str]], before_ns: int) -> None:
        serving = self.parts.serving
        paged = set[tuple[str, str]]() if serving is None else serving.holders()
        gone = self.parts.accountant.books.finished_workers(present | paged, before_ns)
        pages = [] if serving is None else serving.booker.retire(gone)
        self.parts.store.retire_workers(gone, pages)

    def _load_profile(self) -> None:
        self.profile.load(self.parts.store.folder / "profile.json", self.parts.accountant.books.hours)

    def _save_profile(self) -> None:
        self._try(lambda: self.profile.save(self.parts.store.folder / "profile.json"))

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            _log.warning("%s: %s", self.parts.store.folder, error.strerror)

    def _collect(self, name: str, now_ns: int, read: Callable[[], _T]) -> _T | None:
        began = time.perf_counter()
        failure: SourceError | None = None
        value: _T | None = None
        try:
            value = read()
        except SourceError as error:
            failure = error
        except Exception as error:  # noqa: BLE001  (a defect in one collector must not end the sweeps)
            _log.exception("collector %s failed", name)
            failure = Unavailable(f"internal error: {error!r}")
        if self.collectors.note(name, now_ns, time.perf_counter() - began, failure):
            _log.warning("%s: %s", name, failure)
        return value
