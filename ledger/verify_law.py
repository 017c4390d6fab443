"""The laws of the books by name, and how a break of one is told.

Owns the words. A check is a function from a part of the books to the rows that break a law.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import polars as pl

MOST = 100
"""Breaks told of one law and day; whoever mends the first sees the rest again."""

_MEND = (
    "let the controller run, which ends what a killed one began; if the break stays, restore the ledger as it was:"
    " docs/guides/ledger.md, Mending"
)
_OTHERS = (
    "another program wrote to the table, or two controllers at once: restore it, see docs/guides/ledger.md, Mending"
)


@dataclass(frozen=True, slots=True)
class Law:
    """One law."""

    name: str
    says: str
    remedy: str


SCHEMA = Law(
    "schema",
    "Each table has the columns and types of its schema version, and no leadership that nobody claimed wrote to it.",
    _OTHERS,
)
HOURS = Law(
    "hours",
    "Each row stands at the start of an hour, in the partition of that hour's day.",
    _OTHERS,
)
KEYS = Law(
    "keys",
    "No key stands twice in any table.",
    _OTHERS,
)
REGISTER = Law("register", "There is no usage without its node-hour.", _MEND)
DEVICES = Law("devices", "Each node-hour has rows of all its devices, and of no others.", _MEND)
TIME = Law("time", "The accounts of each device and hour add up to the time that its node existed.", _MEND)
SIGNS = Law(
    "signs",
    "Time, energy, memory, list cost and grams are never negative; only what a bill says may be.",
    _MEND,
)
PRICED = Law(
    "prices",
    "Each price that cost rests on stands in the table of prices; list cost is null where there is none.",
    _MEND,
)
ORPHANS = Law("orphans", "Cost stands on usage rows, and each usage row has its cost.", _MEND)
LIST = Law("list", "The list cost of a node-hour is its price times the time it existed, rounded once.", _MEND)
LINES = Law("lines", "The effective cost of a node-hour is what the bill's lines give to it, to the unit.", _MEND)
SHARES = Law("shares", "Each row bears its share of its node-hour, as the rule of apportioning gives it.", _MEND)
GRAMS = Law(
    "grams",
    "Each row bears its share of its device's grams: energy times the intensity and PUE that it names, rounded once.",
    _MEND,
)
CHARGES = Law(
    "charges",
    "Over the range cost equals charges, by billing account and category.",
    "mend what breaks the law `lines` first; where nothing does, the program is at fault: report it",
)
BILLS = Law(
    "bills",
    "The lines of each booked bill add up to its totals, with one rounding line, and no line is of another bill.",
    _MEND,
)
LAWS = (
    SCHEMA,
    HOURS,
    KEYS,
    REGISTER,
    DEVICES,
    TIME,
    SIGNS,
    PRICED,
    ORPHANS,
    LIST,
    LINES,
    SHARES,
    GRAMS,
    CHARGES,
    BILLS,
)


@dataclass(frozen=True, slots=True)
class Break:
    """A law that does not hold somewhere."""

    law: str
    hour: datetime | None
    """Start of the hour, or of the day where hours became days; None: the break is of no hour."""
    node: str
    subject: str
    """The device, line, table or group."""
    expected: str
    found: str
    remedy: str

    def __str__(self) -> str:
        where = [f"{self.hour:%Y-%m-%dT%H:%MZ}" if self.hour else "", f"node {self.node}" if self.node else ""]
        place = ", ".join(part for part in (*where, self.subject) if part)
        return f"{self.law}: {place}: expected {self.expected}, found {self.found}; {self.remedy}"


TOLD = ("hour_utc", "node", "subject", "expected", "found")
"""Columns of what a check gives; ``expected`` and ``found`` of any type."""


def broken(law: Law, rows: pl.LazyFrame) -> Iterator[Break]:
    """What a check found, in order, at most :data:`MOST`."""
    said = [_said(pl.col(name)).alias(name) for name in ("expected", "found")]
    told = rows.select("hour_utc", pl.col("node").fill_null(""), "subject", *said)
    for hour, node, subject, expected, found in told.sort("hour_utc", "node", "subject").head(MOST).collect().rows():
        yield Break(law.name, hour, node, subject, expected, found, law.remedy)


def _said(value: pl.Expr) -> pl.Expr:
    return value.cast(pl.String).fill_null("nothing")
