"""The books after all the deaths, held against the script: to the nanosecond and the millijoule."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from agent.books import Books
from agent.journal import Journal
from agent.store import StateStore
from benchmarks.kills_watch import Broken
from ledger.hours import HourBook, from_json
from tests.integration.agent_process import NAMES

Sums = tuple[int, int]
"""Nanoseconds and millijoules."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What stands in a data directory whose agent has ended."""

    books: Books
    hours: Mapping[int, HourBook]
    """Every hour, closed or open; an hour that was opened again stands as it is now."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the script says of one device."""

    first_ns: int
    """The first reading, from the first run's own books."""
    energy_mj: int
    """What the counter moved by since."""
    accounts: frozenset[str]
    """Where its time stands, `unobserved` aside."""
    may: frozenset[str]
    """Where some of its time may stand besides."""
    activity_percent: int
    dead_ns: int
    """For so long there was certainly no agent."""


def load(folder: Path) -> Saved:
    """Read a data directory by the agent's own code.

    Raises:
        Broken: there are no books.
    """
    store = StateStore(folder, "", "nvml")
    try:
        if store.books is None:
            raise Broken(f"{folder}: holds no books")
        return Saved(store.books, _hours(store.journal, store.books))
    finally:
        store.close()


def _hours(journal: Journal, books: Books) -> dict[int, HourBook]:
    closed = (from_json(json.loads(document)) for document in journal.documents())
    return {book.hour_s: book for book in closed} | books.hours


def first_reading(saved: Saved, uuid: str) -> tuple[int, int]:
    """When books of a single undisturbed run began with a device, and what its counter said."""
    base, device = saved.books.bases[uuid], saved.books.devices[uuid]
    return base.booked_ns - device.accounted_ns, (base.energy_mj or 0) - (device.energy_mj or 0)


def compare(saved: Saved, uuid: str, expected: Expected, shown: Mapping[str, Decimal]) -> dict[str, Sums]:
    """Sums by account of one device.

    Raises:
        Broken: the first thing that is not as the script has it.
    """
    _balance_hours(saved, uuid)
    base, device = saved.books.bases[uuid], saved.books.devices[uuid]
    time_ns = base.booked_ns - expected.first_ns
    _equal(f"{uuid}: time by the clock, control of all hours", time_ns, _control(saved, uuid)[0])
    _equal(f"{uuid}: time by the clock, control of the counters", time_ns, device.accounted_ns)
    _equal(f"{uuid}: energy by the script, control of all hours", expected.energy_mj, _control(saved, uuid)[1])
    _equal(f"{uuid}: energy by the script, control of the counters", expected.energy_mj, device.energy_mj)
    accounts = _accounts(saved, uuid)
    for kind, place in (("time", 0), ("energy", 1)):
        _equal(f"{uuid}: {kind} of all accounts, control", sum(sums[place] for sums in accounts.values()),
               _control(saved, uuid)[place])  # fmt: skip
    _equal(f"{uuid}: hours, meters, by account", accounts, _meters(saved.books, uuid))
    _compare_accounts(uuid, accounts, expected, saved.books.sequence)
    if (_shown(shown, "time", uuid) or 0) > Decimal(time_ns).scaleb(-9):
        raise Broken(f"{uuid}: {_shown(shown, 'time', uuid)} s were shown, only {time_ns} ns are in the books")
    _equal(f"{uuid}: joules, as last scraped", Decimal(expected.energy_mj).scaleb(-3), _shown(shown, "energy", uuid))
    return accounts


def _compare_accounts(uuid: str, accounts: Mapping[str, Sums], expected: Expected, intervals: int) -> None:
    unobserved_ns = accounts.get("unobserved", (0, 0))[0]
    _equal(f"{uuid}: accounts", expected.accounts, frozenset(accounts.keys() - {"unobserved"} - expected.may))
    if unobserved_ns < expected.dead_ns:
        raise Broken(f"{uuid}: nobody lived for {expected.dead_ns} ns, yet only {unobserved_ns} ns are unobserved")
    if {"active", "idle"} <= expected.accounts:
        active_ns = accounts["active"][0] + sum(accounts.get(account, (0, 0))[0] for account in expected.may)
        idle_ns = accounts["idle"][0]
        # Each interval is split to the nearest nanosecond.
        if abs(100 * active_ns - expected.activity_percent * (active_ns + idle_ns)) > 100 * intervals:
            raise Broken(f"{uuid}: active {active_ns} ns and idle {idle_ns} ns at {expected.activity_percent} %")


def _equal(what: str, left: object, right: object) -> None:
    if left != right:
        raise Broken(f"{what}: {left} is not {right}")


def _balance_hours(saved: Saved, uuid: str) -> None:
    for hour_s, book in saved.hours.items():
        rows = [amount for key, amount in book.rows.items() if key.cell.gpu_uuid == uuid]
        control = book.devices.get(uuid)
        booked = sum(amount.gpu_ns for amount in rows), sum(amount.energy_mj for amount in rows)
        known = (0, 0) if control is None else (control.accounted_ns, control.energy_mj or 0)
        _equal(f"{uuid}: rows and control of hour {hour_s}", booked, known)


def _control(saved: Saved, uuid: str) -> Sums:
    devices = [book.devices[uuid] for book in saved.hours.values() if uuid in book.devices]
    return sum(device.accounted_ns for device in devices), sum(device.energy_mj or 0 for device in devices)


def _accounts(saved: Saved, uuid: str) -> dict[str, Sums]:
    sums: dict[str, Sums] = {}
    for book in saved.hours.values():
        for key, amount in book.rows.items():
            if key.cell.gpu_uuid == uuid:
                ns, mj = sums.get(key.cell.account, (0, 0))
                sums[key.cell.account] = ns + amount.gpu_ns, mj + amount.energy_mj
    return sums


def _meters(books: Books, uuid: str) -> dict[str, Sums]:
    sums: dict[str, Sums] = {}
    for key, meter in books.meters.items():
        if key.gpu_uuid == uuid:
            ns, mj = sums.get(key.account, (0, 0))
            sums[key.account] = ns + meter.gpu_ns, mj + meter.energy_mj
    return sums


def _shown(shown: Mapping[str, Decimal], kind: str, uuid: str) -> Decimal | None:
    control = NAMES[kind][1]
    return next((v for s, v in shown.items() if s.startswith(f"{control}{{") and uuid in s), None)
