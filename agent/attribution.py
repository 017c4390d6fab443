"""Who gets an interval of a device: pure integer arithmetic from activity and holders to shares of time and energy.

Flow: an :class:`Interval` holds one or more units (the device itself, or its MIG instances and what is left
between them). Time goes to units by slices, within a unit to active and other time by activity, and among several
holders by their weights. Energy goes to units first, then to each unit's parts. Every split is by largest remainder,
so the parts add up to the interval and to the counter's delta, always.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from collectors.clock import NS_PER_SECOND
from collectors.holder import NOBODY, Holder
from ledger.accounts import Account, EnergyMethod, Method
from ledger.apportion import apportion

PPM = 1_000_000
_WORKING = frozenset((Account.ACTIVE, Account.UNATTRIBUTED, Account.SYSTEM))


class Claim(NamedTuple):
    """A participant in a unit."""

    holder: Holder | None
    """``None``: somebody, but who is not understood; booked as ``unattributed`` by whatever it does. ``NOBODY``: the
    replicas that nobody holds, booked as ``unallocated``."""
    weight: int = 0
    """Share of active time relative to the other claims, by the unit's method."""
    replicas: int = 1
    """Share of idle time relative to the other claims; 0 for one that only worked here and holds nothing."""


class Unit(NamedTuple):
    """A part of a device that is held and measured by itself."""

    mig: str
    """The MIG instance's UUID, or empty."""
    slices: int
    activity_ppm: int | None
    """Largest of the activities that count, parts per million; ``None`` when none can be read."""
    claims: tuple[Claim, ...]
    method: Method
    """How the weights of several claims were found."""
    implausible: bool = False
    """The reading cannot be true: time and energy are booked, but as unmeasured."""


class Interval(NamedTuple):
    """One device between two readings."""

    duration_ns: int
    energy_mj: int | None
    units: tuple[Unit, ...]
    idle_mw: int | None
    """The device's learnt idle power."""
    idle_method: EnergyMethod = EnergyMethod.IDLE_SPLIT
    """Says whose idle power it is."""


class Share(NamedTuple):
    """One part of an interval."""

    mig: str
    holder: Holder
    account: Account
    method: Method
    energy_method: EnergyMethod
    gpu_ns: int
    energy_mj: int


_share: Callable[[tuple[str, Holder, Account, Method, EnergyMethod, int, int]], Share] = partial(
    tuple[object, ...].__new__, Share
)
"""``Share(...)`` in a quarter of its time: a sweep makes two for each MIG instance."""
_Whole = tuple[int, int, int | None, EnergyMethod | None]
"""What a unit gets: nanoseconds, millijoules, its idle power, and the energy's method unless that of its parts."""


class _Part(NamedTuple):
    account: Account
    method: Method
    holder: Holder
    ns: int


def attribute(interval: Interval) -> list[Share]:
    """Split an interval; the shares' ``gpu_ns`` add up to its duration and their ``energy_mj`` to its energy."""
    units = interval.units
    slices = [unit.slices for unit in units]
    times = apportion(interval.duration_ns, slices)
    energies, unit_method = _energy_of_units(interval, slices)
    told_method = EnergyMethod.NONE if interval.energy_mj is None else unit_method
    slice_total = sum(slices) or 1
    shares: list[Share] = []
    for unit, time_ns, energy in zip(units, times, energies, strict=True):
        idle_mw = None if interval.idle_mw is None else interval.idle_mw * unit.slices // slice_total
        holder = _one_holder(unit)
        if holder is not None and time_ns:
            shares += _shares_of_one(interval, unit, holder, (time_ns, energy, idle_mw, told_method))
            continue
        parts = _time_parts(unit, time_ns)
        split, part_method = _energy_of_parts(parts, energy, idle_mw)
        if part_method is EnergyMethod.IDLE_SPLIT:
            part_method = interval.idle_method
        method = told_method or part_method
        shares.extend(
            Share(unit.mig, part.holder, part.account, part.method, method, part.ns, mj)
            for part, mj in zip(parts, split, strict=True)
            if part.ns or mj
        )
    return shares


def _one_holder(unit: Unit) -> Holder | None:
    """The one who holds all of a unit whose activity is known; ``None`` where it is not as plain as that."""
    if len(unit.claims) != 1 or unit.activity_ppm is None or unit.implausible:
        return None
    holder, _, replicas = unit.claims[0]
    return holder if replicas and holder is not None and holder != NOBODY and holder.kind != "system" else None


def _shares_of_one(interval: Interval, unit: Unit, holder: Holder, whole: _Whole) -> list[Share]:
    """What :func:`_time_parts` and :func:`_energy_of_parts` come to for one holder, who is all of the node most often.

    The time must not be 0.
    """
    ns, energy_mj, idle_mw, method = whole
    mig, _, activity_ppm, _, time_method, _ = unit
    active_ns = (ns * min(activity_ppm or 0, PPM) + PPM // 2) // PPM
    idle_ns = ns - active_ns
    if not (active_ns and idle_ns):
        account = Account.ACTIVE if active_ns else Account.IDLE
        return [_share((mig, holder, account, time_method, method or EnergyMethod.WHOLE, ns, energy_mj))]
    if idle_mw is None:
        method, idle_mj = method or EnergyMethod.IDLE_UNKNOWN, 0
    else:
        method = method or interval.idle_method
        idle_mj = min(energy_mj, idle_mw * idle_ns // NS_PER_SECOND)
    return [
        _share((mig, holder, Account.ACTIVE, time_method, method, active_ns, energy_mj - idle_mj)),
        _share((mig, holder, Account.IDLE, time_method, method, idle_ns, idle_mj)),
    ]


def _time_parts(unit: Unit, duration_ns: int) -> list[_Part]:
    present = [claim for claim in unit.claims if claim.replicas]
    holders = [claim for claim in present if not _is_system(claim)]
    if unit.implausible or (unit.activity_ppm is None and present):
        return _unmeasured(unit, holders or present, duration_ns)
    if unit.activity_ppm is None:
        return [_Part(Account.UNALLOCATED, unit.method, NOBODY, duration_ns)]
    active_ns = (duration_ns * min(unit.activity_ppm, PPM) + PPM // 2) // PPM
    return [
        *_active_parts(unit, active_ns),
        *_resting_parts(unit, holders, duration_ns - active_ns),
    ]


def _is_system(claim: Claim) -> bool:
    return claim.holder is not None and claim.holder.kind == "system"


def _unmeasured(unit: Unit, holders: Sequence[Claim], duration_ns: int) -> list[_Part]:
    if not holders:
        return [_Part(Account.UNMEASURED, unit.method, NOBODY, duration_ns)]
    method = unit.method if len(holders) == 1 else Method.EQUAL
    return [
        _Part(_account(claim, Account.UNMEASURED), method, claim.holder or NOBODY, ns)
        for claim, ns in zip(holders, apportion(duration_ns, [c.replicas for c in holders]), strict=True)
    ]


def _account(claim: Claim, account: Account) -> Account:
    if claim.holder is None:
        return Account.UNATTRIBUTED
    if claim.holder == NOBODY:
        return Account.UNALLOCATED
    return Account.SYSTEM if claim.holder.kind == "system" else account


def _active_parts(unit: Unit, active_ns: int) -> list[_Part]:
    if not unit.claims:
        return [_Part(Account.UNATTRIBUTED, unit.method, NOBODY, active_ns)]
    weights = [claim.weight for claim in unit.claims]
    return [
        _Part(_account(claim, Account.ACTIVE), unit.method, claim.holder or NOBODY, ns)
        for claim, ns in zip(unit.claims, apportion(active_ns, weights), strict=True)
    ]


def _resting_parts(unit: Unit, holders: Sequence[Claim], rest_ns: int) -> list[_Part]:
    if not holders:
        return [_Part(Account.UNALLOCATED, unit.method, NOBODY, rest_ns)]
    return [
        _Part(_account(claim, Account.IDLE), unit.method, claim.holder or NOBODY, ns)
        for claim, ns in zip(holders, apportion(rest_ns, [c.replicas for c in holders]), strict=True)
    ]


def _energy_of_units(interval: Interval, slices: list[int]) -> tuple[list[int], EnergyMethod | None]:
    units, energy = interval.units, interval.energy_mj or 0
    if len(units) == 1:
        return [energy], None
    floor = 0
    if interval.idle_mw is not None:
        floor = min(energy, interval.idle_mw * interval.duration_ns // NS_PER_SECOND)
    held = [_held(unit) for unit in units]
    known = [unit.activity_ppm for unit, is_held in zip(units, held, strict=True) if is_held]
    if known and None not in known:
        method, weights = EnergyMethod.MIG_ACTIVITY, [u.slices * (u.activity_ppm or 0) for u in units]
    else:
        method = EnergyMethod.MIG_SLICES
        weights = [unit.slices if is_held else 0 for unit, is_held in zip(units, held, strict=True)]
    if not any(weights):
        weights = slices
    base = apportion(floor, slices)
    rest = apportion(energy - floor, weights)
    return [a + b for a, b in zip(base, rest, strict=True)], method


def _held(unit: Unit) -> bool:
    claims = unit.claims
    return bool(claims) and (claims[0].holder != NOBODY or any(claim.holder != NOBODY for claim in claims))


def _energy_of_parts(parts: Sequence[_Part], energy: int, idle_mw: int | None) -> tuple[list[int], EnergyMethod]:
    times = [part.ns for part in parts]
    accounts = [part.account for part in parts]
    working = [ns if account in _WORKING else 0 for account, ns in zip(accounts, times, strict=True)]
    resting = [ns - busy for ns, busy in zip(times, working, strict=True)]
    if Account.UNMEASURED in accounts or not any(working) or not any(resting):
        return apportion(energy, times), EnergyMethod.WHOLE
    if idle_mw is None:
        return apportion(energy, working), EnergyMethod.IDLE_UNKNOWN
    idle_energy = min(energy, idle_mw * sum(resting) // NS_PER_SECOND)
    idle = apportion(idle_energy, resting)
    active = apportion(energy - idle_energy, working)
    return [a + b for a, b in zip(idle, active, strict=True)], EnergyMethod.IDLE_SPLIT
