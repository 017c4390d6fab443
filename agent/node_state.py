"""The node as the page shows it: one JSON value from the last snapshot and the books."""

from collections.abc import Iterable
from datetime import UTC, datetime

from agent.accountant import DeviceView
from agent.books import Books, account_sums
from agent.daemon import NodeAgent
from agent.installation import Installation
from agent.serving_state import serving_states
from agent.snapshot import Prices, Snapshot
from collectors.clock import NS_PER_SECOND
from collectors.readings import Activity, DeviceFacts
from exporters.state import (
    AccountState,
    ActivityState,
    CollectorState,
    DeviceState,
    HolderState,
    HostState,
    InstanceState,
    NodeState,
    TotalsState,
)
from ledger.accounts import Account, EnergyMethod
from ledger.price import numerator_usd


class NodeStates:
    """Builds the state of one agent."""

    def __init__(self, agent: NodeAgent, prices: Prices, installation: Installation) -> None:
        self._agent = agent
        self._prices = prices
        self._installation = installation

    def state(self) -> NodeState:
        """What the page shows now."""
        agent = self._agent
        clock = agent.parts.clock
        now_ns = clock.monotonic_ns()
        with agent.lock:
            snapshot = agent.snapshot
            books = agent.parts.accountant.books
            devices = [] if snapshot is None else [self._device(snapshot, books, f, now_ns) for f in _ordered(snapshot)]
            totals = self._totals(snapshot, books)
            serving = serving_states(agent.parts.serving)
        source = agent.parts.sampler.source_name
        drivers = {d.driver_version for d in snapshot.facts.values() if d.driver_version} if snapshot else set[str]()
        return NodeState(
            node=self._installation.node,
            version=self._installation.version,
            source=source,
            simulated=source == "simulated",
            driver_version=min(drivers, default=None),
            now_utc=datetime.fromtimestamp(clock.wall_ns() // NS_PER_SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            sweep_age_seconds=None if snapshot is None else (now_ns - snapshot.finished_ns) / NS_PER_SECOND,
            interval_seconds=agent.interval_ns() / NS_PER_SECOND,
            interval_stretched=snapshot is not None and snapshot.stretched,
            message=None if snapshot is None else snapshot.driver_error or "; ".join(snapshot.unreadable) or None,
            kubernetes=self._installation.kubernetes,
            totals=totals,
            host=_host(snapshot),
            collectors=[
                CollectorState(
                    collector=name,
                    up=health.up,
                    age_seconds=None if health.succeeded_ns is None else (now_ns - health.succeeded_ns) / NS_PER_SECOND,
                    message=health.message,
                )
                for name, health in agent.collectors.health.items()
            ],
            serving=serving,
            devices=devices,
        )

    def _device(self, snapshot: Snapshot, books: Books, facts: DeviceFacts, now_ns: int) -> DeviceState:
        view = snapshot.views.get(facts.uuid)
        price = self._prices.of(facts)
        read_ns = snapshot.read_ns.get(facts.uuid)
        meter = books.devices.get(facts.uuid)
        reading = None if view is None else view.sweep.device
        return DeviceState(
            uuid=facts.uuid,
            index=facts.index,
            name=facts.name,
            healthy=view is not None,
            health_message=snapshot.failures.get(facts.uuid),
            age_seconds=None if read_ns is None else (now_ns - read_ns) / NS_PER_SECOND,
            flags=[] if view is None else list(view.flags),
            activity=_activity(None if reading is None else reading.activity),
            activity_source=None if reading is None else reading.activity_source,
            power_watts=None if reading is None else reading.power.gpu_watts,
            power_limit_watts=None if reading is None else reading.power.limit_watts,
            energy_joules=None if reading is None or reading.energy_mj is None else reading.energy_mj / 1000,
            memory_used_bytes=None if reading is None else reading.memory.used_bytes,
            memory_total_bytes=None if reading is None else reading.memory.total_bytes,
            temperature_celsius=None if reading is None else reading.thermals.gpu_celsius,
            throttle_reasons=[] if reading is None else sorted(reading.throttle.reasons),
            usd_per_hour=None if price is None else price.usd_per_gpu_hour,
            price_source=None if price is None else price.source,
            price_age_seconds=None if price is None else price.age_seconds(snapshot.wall_ns),
            price_estimate=price is not None and price.estimate,
            holders=[] if view is None else _holders(view),
            instances=[] if view is None else _instances(view),
            totals={
                "gpu_seconds": 0.0 if meter is None else meter.accounted_ns / NS_PER_SECOND,
                "joules": None if meter is None or meter.energy_mj is None else meter.energy_mj / 1000,
                "usd": None if meter is None or meter.cost_numerator is None else numerator_usd(meter.cost_numerator),
            },
            accounts=list(_accounts(books, facts.uuid, has_energy=meter is not None and meter.energy_mj is not None)),
        )

    def _totals(self, snapshot: Snapshot | None, books: Books) -> TotalsState:
        views = [] if snapshot is None else list(snapshot.views.values())
        watts = [v.sweep.device.power.gpu_watts for v in views if v.sweep.device.power.gpu_watts is not None]
        facts = [] if snapshot is None else list(snapshot.facts.values())
        prices = [price.usd_per_gpu_hour for price in map(self._prices.of, facts) if price is not None]
        sums = account_sums({key: meter for key, meter in books.meters.items() if key.gpu_uuid in books.bases})
        has_energy = any(device.energy_mj is not None for device in books.devices.values())
        priced = any(device.cost_numerator is not None for device in books.devices.values())
        return {
            "power_watts": sum(watts) if watts else None,
            "usd_per_hour": sum(prices) if prices else None,
            "accounts": [
                {
                    "account": account,
                    "gpu_seconds": ns / NS_PER_SECOND,
                    "joules": mj / 1000 if has_energy and (mj or account != Account.IDLE) else None,
                    "usd": numerator_usd(cost) if priced else None,
                }
                for account, (ns, mj, cost) in sorted(sums.items())
            ],
        }


def _ordered(snapshot: Snapshot) -> list[DeviceFacts]:
    return sorted(snapshot.facts.values(), key=lambda facts: facts.index)


def _activity(activity: Activity | None) -> ActivityState:
    known = activity or Activity()
    return ActivityState(
        duty_cycle=known.duty_cycle,
        sm=known.sm,
        tensor=known.tensor,
        dram=known.dram,
        memory_controller=known.memory_controller,
    )


def _holders(view: DeviceView) -> list[HolderState]:
    return [
        {
            "kind": "none" if use.holder is None else use.holder.kind,
            "name": "not understood" if use.holder is None else use.holder.name,
            "mig": use.mig or None,
            "share_ratio": use.used_share,
            "memory_bytes": use.memory_bytes,
        }
        for use in view.uses
    ]


def _instances(view: DeviceView) -> list[InstanceState]:
    return [
        {
            "mig": part.mig.uuid,
            "profile": part.mig.profile,
            "activity": _activity(part.activity),
            "memory_used_bytes": part.memory.used_bytes,
            "memory_total_bytes": part.memory.total_bytes,
        }
        for part in view.sweep.instances
        if part.mig is not None
    ]


def _accounts(books: Books, uuid: str, *, has_energy: bool) -> Iterable[AccountState]:
    for key, meter in sorted(books.meters.items()):
        if key.gpu_uuid != uuid:
            continue
        # Until idle power is learnt an interval's energy is booked as active: the idle row then has none of its own.
        not_split = key.account == Account.IDLE and not meter.energy_mj
        yield AccountState(
            account=key.account,
            mig=key.mig or None,
            holder_kind=key.holder_kind,
            holder=key.holder,
            method=key.method,
            energy_method=EnergyMethod.IDLE_UNKNOWN if not_split else None,
            gpu_seconds=meter.gpu_ns / NS_PER_SECOND,
            joules=meter.energy_mj / 1000 if has_energy and not not_split else None,
            usd=None if meter.cost_numerator is None else numerator_usd(meter.cost_numerator),
        )


def _host(snapshot: Snapshot | None) -> HostState | None:
    if snapshot is None or snapshot.host is None:
        return None
    host = snapshot.host
    return HostState(
        cpu_busy_ratio=host.cpu_busy_ratio,
        cpu_iowait_ratio=host.cpu_iowait_ratio,
        memory_used_bytes=host.memory_used_bytes,
        memory_total_bytes=host.memory_total_bytes,
        load1=host.load1,
        power_watts=host.host_power_watts,
    )
