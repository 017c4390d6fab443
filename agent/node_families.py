"""The whole page of metrics of one node, from the last snapshot and the books."""

import os
import platform
import time
from collections.abc import Collection, Iterable
from pathlib import Path

from agent.account_families import AccountFamilies
from agent.daemon import NodeAgent
from agent.installation import HolderFacts, Installation
from agent.snapshot import Prices, Snapshot
from agent.work_families import WorkFamilies
from collectors.clock import NS_PER_SECOND
from collectors.holder import Holder
from exporters import catalogue_agent as own
from exporters import catalogue_books as books
from exporters.exposition import Family, SeriesCache
from exporters.gpu_families import DeviceHealth, GpuFamilies
from exporters.host_families import HostFamilies
from exporters.metric import Metric
from exporters.metric_choice import MetricChoice
from exporters.metric_settings import MetricsSettings

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class NodeFamilies:
    """Builds the families of one agent; keeps label strings between scrapes."""

    def __init__(
        self,
        agent: NodeAgent,
        prices: Prices,
        installation: Installation,
        settings: MetricsSettings = MetricsSettings(),  # noqa: B008  (frozen)
    ) -> None:
        self._agent = agent
        self._prices = prices
        self._installation = installation
        self._node = node = installation.node
        self._holders = installation.holders
        self._simulated = agent.parts.sampler.source_name == "simulated"
        self._choice = MetricChoice.of(settings.groups)
        self._gpu = GpuFamilies(node, agent.parts.sampler.source_name, self._choice)
        self._host = HostFamilies(node)
        self._accounts = AccountFamilies(node, self._holders)
        self._info = SeriesCache(
            books.HOLDER_INFO, node, holder_labels=self._holders.names, dimensions=installation.dimensions
        )
        self._work = WorkFamilies(node, self._holders, self._choice, settings.histograms)
        self._caches: dict[str, SeriesCache] = {}

    def families(self) -> list[Family]:
        """All families, each metric once; what is absent has no series."""
        with self._agent.lock:
            snapshot = self._agent.snapshot
            accounts = self._accounts.families(self._agent.parts.accountant.books)
            work = self._work_families()
        families = [*self._own(snapshot), *accounts, *work]
        if snapshot is not None:
            families += self._gpu.families([view.sweep for view in snapshot.views.values()])
            families += self._gpu.health_families(self._health(snapshot))
            families.append(self._gpu.xid_family(dict(self._agent.xids)))
            families += self._price_families(snapshot)
            families += self._holder_families(snapshot)
            if snapshot.host is not None:
                families += self._host.families(snapshot.host)
        return families

    def _work_families(self) -> list[Family]:
        serving = self._agent.parts.serving
        return [] if serving is None else self._work.families(self._agent.parts.accountant.books, serving)

    def _health(self, snapshot: Snapshot) -> list[DeviceHealth]:
        now_ns = self._agent.parts.clock.monotonic_ns()
        return [
            DeviceHealth(
                uuid,
                up=uuid in snapshot.views,
                age_seconds=(now_ns - snapshot.read_ns[uuid]) / NS_PER_SECOND if uuid in snapshot.read_ns else None,
                implausible=snapshot.views[uuid].flags if uuid in snapshot.views else (),
            )
            for uuid in snapshot.facts
        ]

    def _price_families(self, snapshot: Snapshot) -> Iterable[Family]:
        priced = [(uuid, self._prices.of(facts)) for uuid, facts in snapshot.facts.items()]
        known = [(uuid, price) for uuid, price in priced if price is not None]
        wall_ns = self._agent.parts.clock.wall_ns()
        yield self._family(books.PRICE, (((uuid, p.source, p.capacity_type), p.usd_per_gpu_hour) for uuid, p in known))
        yield self._family(books.PRICE_AGE, (((uuid,), p.age_seconds(wall_ns)) for uuid, p in known))
        yield self._family(books.PRICE_ESTIMATE, (((uuid,), int(p.estimate)) for uuid, p in known))

    def _holder_families(self, snapshot: Snapshot) -> Iterable[Family]:
        uses = [
            (uuid, use, use.holder)
            for uuid, view in snapshot.views.items()
            for use in view.uses
            if use.holder is not None
        ]
        holders = {holder for _, _, holder in uses}
        shares = [
            ((uuid, use.mig, kind, *self._holders.of(h.kind, h.name)), share)
            for uuid, use, h in uses
            for kind, share in (("used", use.used_share), ("requested", use.requested_share))
            if self._choice.value(books.HOLDER_SHARE, kind)
        ]
        yield self._family(books.HOLDER_SHARE, shares)
        if self._choice.whole(books.HOLDER_MEMORY):
            yield self._family(
                books.HOLDER_MEMORY,
                (((uuid, u.mig, *self._holders.of(h.kind, h.name)), u.memory_bytes) for uuid, u, h in uses),
            )
        yield self._info.family((self._info_labels(holder), 1) for holder in holders)
        if self._choice.whole(books.HOLDER_CPU_SECONDS):
            yield from self._host_use(snapshot, holders)

    def _host_use(self, snapshot: Snapshot, holders: Collection[Holder]) -> Iterable[Family]:
        used = [(h, snapshot.usage[h]) for h in holders if h in snapshot.usage]
        yield self._cache(books.HOLDER_CPU_SECONDS).exact_family(
            (self._holders.of(h.kind, h.name), usage.cpu_ns) for h, usage in used if usage.cpu_ns is not None
        )
        directions = [
            ((*self._holders.of(h.kind, h.name), direction), amount)
            for h, usage in used
            for direction, amount in (("read", usage.io_read_bytes), ("write", usage.io_written_bytes))
        ]
        yield self._family(books.HOLDER_IO_BYTES, directions)

    def _info_labels(self, holder: Holder) -> tuple[str, ...]:
        facts = self._installation.facts(holder) or HolderFacts()
        known = facts.dimensions.get
        return (
            *self._holders.of(holder.kind, holder.name),
            facts.workload,
            known("team", ""),
            known("environment", ""),
            facts.pod_uid,
            *(known(name, "") for name in self._installation.dimensions),
        )

    def _own(self, snapshot: Snapshot | None) -> Iterable[Family]:
        agent = self._agent
        clock = agent.parts.clock
        notice = agent.notice
        yield self._family(own.SPOT_NOTICE, [] if notice is None else [(notice[:2], notice[2])])
        for metric, value in self._own_values(snapshot):
            yield self._family(metric, [((), value)])
        yield self._family(own.BUILD_INFO, [((self._installation.version, platform.python_version()), 1)])
        health = dict(agent.collectors.health)
        yield self._family(own.COLLECTOR_UP, (((name,), int(h.up)) for name, h in health.items()))
        yield self._family(own.COLLECTOR_DURATION, (((name,), h.duration_seconds) for name, h in health.items()))
        now_ns = clock.monotonic_ns()
        yield self._family(
            own.COLLECTOR_AGE,
            (
                ((name,), None if h.succeeded_ns is None else (now_ns - h.succeeded_ns) / NS_PER_SECOND)
                for name, h in health.items()
            ),
        )

    def _own_values(self, snapshot: Snapshot | None) -> Iterable[tuple[Metric, int | float | None]]:
        agent = self._agent
        journal = agent.parts.store.journal
        yield own.SIMULATED, int(self._simulated)
        yield own.AGENT_CPU_SECONDS, time.process_time()
        yield own.AGENT_RESIDENT_MEMORY, resident_bytes()
        yield own.CLOCK_STEPS, agent.clock_steps
        yield own.SAVE_FAILURES, agent.parts.store.save_failures
        yield own.JOURNAL_ENTRIES, journal.count()
        yield own.JOURNAL_LAST_CLOSED, journal.last_hour()
        yield own.DEVICE_IDS_NOT_UNDERSTOOD, self._installation.unknown_ids()
        if snapshot is not None:
            yield own.SWEEPS, snapshot.number
            yield own.SWEEP_INTERVAL, snapshot.interval_ns / NS_PER_SECOND
            yield own.SWEEP_STRETCHED, int(snapshot.stretched)
            yield own.SWEEP_DURATION, snapshot.duration_seconds
            yield own.SWEEP_AGE, (agent.parts.clock.monotonic_ns() - snapshot.finished_ns) / NS_PER_SECOND

    def _cache(self, metric: Metric) -> SeriesCache:
        cache = self._caches.get(metric.name)
        if cache is None:
            cache = self._caches[metric.name] = SeriesCache(metric, self._node, holder_labels=self._holders.names)
        return cache

    def _family(self, metric: Metric, rows: Iterable[tuple[tuple[str, ...], int | float | None]]) -> Family:
        return self._cache(metric).family(rows)


def resident_bytes(proc: Path = Path("/proc")) -> int | None:
    """Resident memory of this process; ``None`` where /proc does not tell."""
    try:
        return int((proc / "self/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return None
