"""From one device's readings and its processes' holders to the units that attribution splits.

Owns, per device, what sharing needs to remember: SM samples, the method in force, who held it one sweep ago. The rules:

* A process's holder claims the unit; where the kubelet allocates, the containers that it gave the unit to do, and a
  process's holder without an allocation takes only what it works. A process nobody can explain is ``unattributed``.
* Active time seen where no process is left goes to those who held the unit one sweep before.
* GPU daemons (kind ``system``) take part in active time only where SM samples show what they did.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from agent.attribution import PPM, Claim, Unit
from agent.holdings import Allocation, Holdings
from agent.shares import MethodChooser, ShareWindow
from collectors.holder import NOBODY, Holder
from collectors.readings import Activity, DeviceSweep, GpuReading, ProcessReading, ShareSample
from ledger.accounts import Method

_MIB = 1 << 20
_MPS_SERVER = Holder("system", "nvidia-cuda-mps-server")


class HolderUse(NamedTuple):
    """A holder on a unit as people want to see it."""

    holder: Holder | None
    mig: str
    memory_bytes: int | None
    used_share: float
    """Share of the unit's active time by the method in force."""
    requested_share: float | None = None
    """Share of the unit that was allocated to it; ``None`` where nobody allocates."""


_Told = tuple[tuple[ProcessReading, ...], bool, list[Holder | None], tuple[Allocation, ...] | None, int, bool, bool]
"""All that one holder's claim is worked out from, but for SM samples: the processes, whether they are known, and their
holders; the allocations and replicas; what the kubelet leaves open."""


class _Plan(NamedTuple):
    """What came out where one takes all the active time; it stands for as long as the same is told."""

    told: _Told
    claims: tuple[Claim, ...]
    uses: tuple[HolderUse, ...]


@dataclass(slots=True)
class _Memory:
    window: ShareWindow
    chooser: MethodChooser
    before: tuple[Holder | None, ...] = ()
    plan: _Plan | None = None


def activity_ppm(activity: Activity) -> int | None:
    """The largest activity that counts as working, in parts per million; ``None`` when none was read."""
    if activity.duty_cycle is None and activity.graphics is None:
        return None
    largest = max(
        activity.duty_cycle or 0.0,
        activity.graphics or 0.0,
        activity.encoder or 0.0,
        activity.decoder or 0.0,
        activity.jpeg or 0.0,
        activity.ofa or 0.0,
    )
    return max(0, min(PPM, round(largest * PPM)))


@dataclass(slots=True)
class UnitBuilder:
    """Builds the units of one device, sweep after sweep."""

    method_hold_ns: int
    _memories: dict[str, _Memory] = field(default_factory=dict[str, _Memory])
    _uses: tuple[HolderUse, ...] = ()

    def build(
        self, sweep: DeviceSweep, holdings: Holdings, *, implausible: bool
    ) -> tuple[tuple[Unit, ...], tuple[HolderUse, ...]]:
        """The device's units for the interval that ends with ``sweep``, and who is on them."""
        uses: list[HolderUse] = []
        if not sweep.instances:
            units = [self._unit(sweep.device, "", 1, holdings, uses, implausible=implausible)]
        else:
            units = [
                self._unit(part, part.mig.uuid, part.mig.compute_slices, holdings, uses, implausible=implausible)
                for part in sweep.instances
                if part.mig is not None
            ]
            units.extend(_between_instances(sweep, implausible=implausible))
        present = {unit.mig for unit in units}
        for gone in self._memories.keys() - present:
            del self._memories[gone]
        if list(self._uses) != uses:
            self._uses = tuple(uses)
        return tuple(units), self._uses

    def _unit(
        self,
        reading: GpuReading,
        mig: str,
        slices: int,
        holdings: Holdings,
        uses: list[HolderUse],
        *,
        implausible: bool,
    ) -> Unit:
        memory = self._memories.get(mig)
        if memory is None:
            memory = _Memory(ShareWindow(), MethodChooser(self.method_hold_ns))
            self._memories[mig] = memory
        activity = activity_ppm(reading.activity)
        part = mig or reading.device.uuid
        single = Method.MIG_SLICES if mig else Method.EXCLUSIVE
        told, plan = _told(reading, part, holdings), memory.plan
        if plan is not None and plan.told == told and not reading.share_samples:
            memory.window.rest(reading.read_ns, activity)
            uses += plan.uses
            return Unit(mig, slices, activity, plan.claims, single, implausible)
        bytes_by_holder = _group(reading, holdings.by_pid)
        replicas = _replicas(part, holdings, bytes_by_holder)
        known = holdings.allocated is not None and not holdings.unknown
        guess = _guess(list(bytes_by_holder), replicas if known else {})
        for holder in replicas:
            bytes_by_holder.setdefault(holder, None)
        fresh = memory.window.add(
            reading.read_ns,
            _own_work(reading.share_samples, holdings.by_pid),
            _of_unit(reading, holdings.by_pid),
            activity,
        )
        claims, method = _claims(reading, _Sharers(bytes_by_holder, fresh, guess), memory, working=bool(activity))
        claims = _with_replicas(claims, replicas, holdings.replicas.get(part, 0))
        found = _uses(claims, mig, bytes_by_holder, allocates=holdings.allocated is not None)
        uses += found
        # Where nobody is left, those of the sweep before may count once more.
        stands = method is None and not reading.share_samples and bool(bytes_by_holder or not memory.before)
        memory.plan = _Plan(told, claims, found) if stands else None
        memory.before = tuple(bytes_by_holder)
        return Unit(mig, slices, activity, claims, method or single, implausible)


def _told(reading: GpuReading, part: str, holdings: Holdings) -> _Told:
    by_pid, allocated = holdings.by_pid, holdings.allocated
    return (
        reading.processes,
        reading.processes_known,
        [by_pid.get(process.pid) for process in reading.processes],
        None if allocated is None else allocated.get(part, ()),
        holdings.replicas.get(part, 0),
        holdings.unknown,
        holdings.more_given,
    )


def _uses(
    claims: tuple[Claim, ...], mig: str, memory: Mapping[Holder | None, int | None], *, allocates: bool
) -> tuple[HolderUse, ...]:
    total = sum(claim.weight for claim in claims) or 1
    granted = sum(claim.replicas for claim in claims) or 1
    return tuple(
        HolderUse(
            claim.holder,
            mig,
            memory.get(claim.holder),
            claim.weight / total,
            claim.replicas / granted if allocates else None,
        )
        for claim in claims
        if claim.holder in memory
    )


def _own_work(samples: Iterable[ShareSample], holders: Mapping[int, Holder]) -> list[ShareSample]:
    """The samples less those of the MPS server: what it does is its clients' work, shared by the other methods."""
    return [sample for sample in samples if holders.get(sample.pid) != _MPS_SERVER]


def _of_unit(reading: GpuReading, holders: Mapping[int, Holder]) -> dict[int, Holder]:
    return {p.pid: holders[p.pid] for p in reading.processes if p.pid in holders}


def _group(reading: GpuReading, holders: Mapping[int, Holder]) -> dict[Holder | None, int | None]:
    """Memory by holder; the key ``None`` stands for processes nobody can explain."""
    grouped: dict[Holder | None, int | None] = {}
    if not reading.processes_known:
        grouped[None] = None
    for process in reading.processes:
        holder = holders.get(process.pid)
        before = grouped.get(holder)
        grouped[holder] = before if process.memory_bytes is None else (before or 0) + process.memory_bytes
    return grouped


class _Guess(NamedTuple):
    """How active time is shared where neither SM samples nor memory tell."""

    method: Method
    weights: Mapping[Holder | None, int]


def _guess(seen: list[Holder | None], replicas: Mapping[Holder | None, int]) -> _Guess:
    """Equally among those whose processes are seen; where all are hidden, as behind an MPS server, as was requested."""
    people = _people(seen)
    if replicas and not people:
        return _Guess(Method.REQUESTED, replicas)
    return _Guess(Method.EQUAL, dict.fromkeys(people or seen, 1))


class _Sharers(NamedTuple):
    """What is known of those on a unit: their memory, their new SM samples, and what is left to guess."""

    grouped: Mapping[Holder | None, int | None]
    fresh: Mapping[Holder | None, int]
    guess: _Guess


def _claims(
    reading: GpuReading, known: _Sharers, memory: _Memory, *, working: bool
) -> tuple[tuple[Claim, ...], Method | None]:
    """The claims and, where several share the active time, the method; ``None`` says one takes all."""
    grouped, fresh, guess = known
    present = list(grouped)
    gone = [holder for holder, weight in fresh.items() if weight and holder not in grouped]
    if working and not present and not gone:
        gone = list(memory.before)
    sharers = [*present, *gone]
    if len(_people(sharers)) <= 1 and not _daemon_worked(sharers, fresh):
        return _undivided(present, gone), None
    best, usable = _methods(memory.window, grouped, guess.method)
    method = memory.chooser.choose(best, reading.read_ns, usable)
    weights = guess.weights
    if method is Method.SM:
        weights = memory.window.completed(fresh)
    elif method is Method.MEMORY:
        weights = {holder: (grouped.get(holder) or 0) // _MIB for holder in _people(sharers) or sharers}
    return (
        tuple(Claim(holder, weights.get(holder, 0), int(holder in grouped)) for holder in sharers),
        method,
    )


def _replicas(part: str, holdings: Holdings, present: Iterable[Holder | None]) -> dict[Holder | None, int]:
    """How many replicas each holder holds, which is what idle time goes by."""
    if holdings.allocated is None:
        return dict.fromkeys(present, 1)
    if holdings.unknown:
        return dict.fromkeys(present, 1) or {None: 1}
    held: dict[Holder | None, int] = {}
    for allocation in holdings.allocated.get(part, ()):
        held[allocation.holder] = held.get(allocation.holder, 0) + allocation.replicas
    if holdings.more_given and not held:
        return dict.fromkeys(present, 1) or {None: 1}
    return held


def _with_replicas(claims: Iterable[Claim], replicas: Mapping[Holder | None, int], offered: int) -> tuple[Claim, ...]:
    """The claims with what each holds; replicas that nobody holds are a claim by nobody."""
    held = [Claim(claim.holder, claim.weight, replicas.get(claim.holder, 0)) for claim in claims]
    free = offered - sum(replicas.values())
    return (*held, Claim(NOBODY, 0, free)) if held and free > 0 else tuple(held)


def _people(sharers: Iterable[Holder | None]) -> list[Holder | None]:
    return [holder for holder in sharers if holder is None or holder.kind != "system"]


def _daemon_worked(sharers: Iterable[Holder | None], fresh: Mapping[Holder | None, int]) -> bool:
    return any(holder is not None and holder.kind == "system" and fresh.get(holder) for holder in sharers)


def _undivided(present: list[Holder | None], gone: list[Holder | None]) -> tuple[Claim, ...]:
    """One party takes the active time: the only one who is not a daemon, or the daemons where there is no other."""
    sharers = [*present, *gone]
    takers = _people(sharers) or sharers
    return tuple(Claim(holder, int(holder in takers), int(holder in present)) for holder in sharers)


def _methods(
    window: ShareWindow, grouped: Mapping[Holder | None, int | None], guess: Method
) -> tuple[Method, set[Method]]:
    usable, best = {guess}, guess
    if any(grouped[holder] for holder in _people(grouped)):
        usable.add(Method.MEMORY)
        best = Method.MEMORY
    if window.available():
        usable.add(Method.SM)
        best = Method.SM
    return best, usable


def _between_instances(sweep: DeviceSweep, *, implausible: bool) -> list[Unit]:
    """What no MIG instance owns: the device's slices less those of its instances, and of these what no profile can use.

    A reading that cannot be true tells nothing of what is stranded either.
    """
    owned = sum(reading.mig.compute_slices for reading in sweep.instances if reading.mig is not None)
    total = max(reading.mig.parent_slices for reading in sweep.instances if reading.mig is not None)
    free = max(0, total - owned)
    stranded = 0 if implausible else min(free, sweep.stranded_slices or 0)
    parts = ((Method.MIG_SLICES, free - stranded), (Method.STRANDED, stranded))
    return [Unit("", slices, None, (), method, implausible) for method, slices in parts if slices]
