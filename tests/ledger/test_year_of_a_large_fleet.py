"""100,000 GPUs, booked and priced, and a year of such hours rolled up, against Python's own integers.

What is booked: two hours of 12,500 nodes with 8 GPUs each, node by node, through booking and list cost. What is
repeated: the year is made of these two hours' rows, summed by kind of node, 8,760 hours in all; every one of those
hours goes through the roll-up, whose sums pass 64 bits.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import polars as pl
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ledger.agent_hours import AgentHour
from ledger.allocate import Sharing, allocate
from ledger.booking import book
from ledger.booking_units import Scope
from ledger.hours import Amount, CellKey, DeviceHour, HourBook, NodeNote, RowKey
from ledger.lifetimes import EXISTED
from ledger.list_cost import PRICED_COLUMNS, list_cost
from ledger.tables import COST, PRICES

NODES, GPUS, HOURS = 12_500, 8, 8760
HOUR_NS = 3600 * 10**9
USD = 10**9
MODEL = "NVIDIA H100 80GB HBM3"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
HOLDERS = ("a/x/c", "b/y/c", "b/z/c")
HELD, FREE = ("active", "idle", "unmeasured"), ("unallocated", "unattributed", "system")
BY = ["holder", "account"]
COST_SUMS = ("list_nano_usd", "effective_nano_usd", "carbon_ug", "embodied_ug")


@dataclass(frozen=True)
class Kind:
    """Nodes that are alike."""

    nano_usd: int
    """Of a node-hour."""
    existed_ns: int
    devices: tuple
    """Of each GPU that the agent names: rows of (holder, account, ns)."""

    def rows(self):
        """(device, holder, account, ns) of all eight GPUs, in the order of the books."""
        found = []
        for place in range(GPUS):
            named = self.devices[place] if place < len(self.devices) else ()
            uuid = f"GPU-{place}" if place < len(self.devices) else f"gpu-{place}"
            missing = self.existed_ns - sum(ns for _, _, ns in named)
            gap = [("", "unobserved", missing)] if missing else []
            found += [(uuid, holder, account, ns) for holder, account, ns in sorted([*named, *gap])]
        return sorted(found, key=lambda each: each[0].startswith("gpu-"))

    @property
    def whole(self):
        """What one of them costs in the hour."""
        return round(Fraction(self.nano_usd * self.existed_ns, HOUR_NS))

    def parts(self):
        """What each of its rows costs."""
        return hamilton(self.whole, [ns for *_, ns in self.rows()])


def hamilton(whole, weights):
    """The floor of each share, by fractions; what is left goes to the largest remainders."""
    shares = [Fraction(whole * weight, sum(weights)) for weight in weights]
    parts = [share.numerator // share.denominator for share in shares]
    owed = sorted(range(len(shares)), key=lambda place: (parts[place] - shares[place], place))
    for place in owed[: whole - sum(parts)]:
        parts[place] += 1
    return parts


@st.composite
def devices(draw, existed_ns):
    """Up to eight GPUs, the time of each cut into up to four rows; what the last cut leaves nobody saw."""
    found = []
    for _ in range(draw(st.integers(0, GPUS))):
        pairs = [(holder, account) for holder in HOLDERS for account in HELD] + [("", account) for account in FREE]
        named = draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=4, unique=True))
        cuts = sorted(draw(st.lists(st.integers(0, existed_ns), min_size=len(named), max_size=len(named))))
        times = [b - a for a, b in zip([0, *cuts], cuts, strict=False)]
        found.append(tuple((*pair, ns) for pair, ns in zip(named, times, strict=True) if ns))
    return tuple(found)


@st.composite
def kinds(draw, dearest=False):
    existed_ns = HOUR_NS if dearest else draw(st.one_of(st.just(HOUR_NS), st.integers(1, HOUR_NS)))
    nano_usd = draw(st.integers(170 * USD if dearest else 1, 230 * USD))
    return Kind(nano_usd, existed_ns, draw(devices(existed_ns)))


@st.composite
def fleets(draw):
    """Kinds of nodes and how many there are of each: at least half are dear ones that live for all of the hour."""
    others = draw(st.lists(st.tuples(kinds(), st.integers(1, NODES // 8)), max_size=4))
    rest = NODES - sum(count for _, count in others)
    return [(draw(kinds(dearest=True)), rest), *others]


def booked(fleet, hour):
    """Usage and cost of one hour, by the ledger's own code."""
    at = BEGIN + timedelta(hours=hour)
    nodes = [(f"n{place}-{number:05}", kind) for place, (kind, count) in enumerate(fleet) for number in range(count)]
    books = {id(kind): journal(kind, at) for kind, _ in fleet}
    hours = [
        AgentHour(node, books[id(kind)], "measured", closed=True, digest=node) for node, kind in nodes if kind.devices
    ]
    existed = pl.DataFrame([lived(node, kind, at) for node, kind in nodes], schema=EXISTED)
    made = book(hours, existed, Scope(at + timedelta(days=1)))
    schema = {name: COST.schema.get(name, pl.Int64) for name in PRICED_COLUMNS}
    priced = [(at, node, "", MODEL, f"ledger/{kind.nano_usd}", kind.nano_usd) for node, kind in nodes]
    asked = pl.DataFrame(priced, schema=schema, orient="row")
    cost = list_cost(made.usage, made.node_hours, asked, pl.DataFrame(schema=PRICES.schema), in_order=True)
    return made.usage, cost


def energy(ns):
    """At 700 W."""
    return ns * 7 // 10_000


def journal(kind, at):
    rows, told = {}, {}
    for place, named in enumerate(kind.devices):
        uuid = f"GPU-{place}"
        for holder, account, ns in named:
            cell = CellKey(uuid, "", "pod" if holder else "", holder, account, "exclusive")
            rows[RowKey(cell, "whole", "")] = Amount(ns, energy(ns))
        told[uuid] = DeviceHour(MODEL, sum(ns for *_, ns in named), sum(energy(ns) for *_, ns in named))
    return HourBook(int(at.timestamp()), 1, rows=rows, devices=told, node_facts=NodeNote(provider="aws"))


def lived(node, kind, at):
    facts = {"day": at.date(), "hour_utc": at, "node": node, "instance_id": "", "existed_ns": kind.existed_ns}
    return {**facts, "evidence": "api", "gpu_count": GPUS, "gpu_model": MODEL, "provider": "aws", "cluster": "eu"}


def counted(frame, amount):
    """How many nodes of each kind have a row of that device, holder, account and amount."""
    kind = pl.col("node").str.extract(r"^n(\d)-").cast(pl.Int64).alias("kind")
    device = pl.col("gpu_uuid").str.replace("^n.*/", "").alias("device")
    rows = frame.group_by(kind, device, "holder", "account", amount).len()
    return Counter({row[:-1]: row[-1] for row in rows.iter_rows()})


def year(samples, sums):
    """Each sample's rows summed by kind of node, at each of the hours that it stands for."""
    frames = []
    for frame, hours in samples:
        kind = pl.col("node").str.extract(r"^(n\d)-").alias("node")
        told = [pl.when(pl.col(name).is_not_null().any()).then(pl.col(name).sum()).alias(name) for name in sums]
        rows = frame.group_by(kind, "holder", "account", *({"charge"} & {*frame.columns})).agg(told)
        when = pl.DataFrame({"hour_utc": [BEGIN + timedelta(hours=hour) for hour in hours]})
        frames.append(when.with_columns(day=pl.col("hour_utc").dt.date()).join(rows, how="cross"))
    return pl.concat(frames).lazy()


def exact(fleets_and_hours, of_kind):
    """Python's sums over the year, by holder and account."""
    found = Counter()
    for fleet, hours in fleets_and_hours:
        for kind, count in fleet:
            for (_, holder, account, _), amount in zip(kind.rows(), of_kind(kind), strict=True):
                found[holder, account] += amount * count * len(hours)
    return found


def nonzero(sums):
    return {key: amount for key, amount in sums.items() if amount}


def told(frame, amount):
    return nonzero({(holder, account): each for holder, account, each in frame.select(*BY, amount).iter_rows()})


# an example takes seconds: one that fails is shown as it was drawn
@settings(max_examples=5, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(fleets(), fleets(), st.integers(1, HOURS - 1))
def test_a_year_of_a_hundred_thousand_gpus_agrees_with_pythons_own_integers(one, other, turn):
    parts = (one, range(turn)), (other, range(turn, HOURS))
    made = [booked(fleet, hours[0]) for fleet, hours in parts]
    for (fleet, _), (usage, cost) in zip(parts, made, strict=True):
        assert_each_node_hour(fleet, usage, cost)
    hours = [hours for _, hours in parts]
    usages = year(zip([usage for usage, _ in made], hours, strict=True), ("gpu_ns", "requested_ns", "energy_mj"))
    costs = year(zip([cost for _, cost in made], hours, strict=True), COST_SUMS)
    usd = exact(parts, Kind.parts)
    assert_year(allocate(costs, usages, BY).collect(), parts, usd)
    months = allocate(costs, usages, BY, step="1mo").group_by(BY).agg(pl.col("cost_nano_usd", "gpu_ns").sum())
    assert told(months.collect(), "cost_nano_usd") == nonzero(usd)
    assert_spread(allocate(costs, usages, ["holder"], sharing=Sharing(idle="proportional")).collect(), usd)


def assert_each_node_hour(fleet, usage, cost):
    times, dollars = Counter(), Counter()
    for place, (kind, count) in enumerate(fleet):
        for (device, holder, account, ns), nano in zip(kind.rows(), kind.parts(), strict=True):
            times[place, device, holder, account, ns] += count
            dollars[place, device, holder, account, nano] += count
    assert counted(usage, "gpu_ns") == times
    assert counted(cost, "list_nano_usd") == dollars
    wholes = cost.group_by("node").agg(pl.col("list_nano_usd").sum())["list_nano_usd"]
    assert Counter(wholes) == sum((Counter({kind.whole: count}) for kind, count in fleet), Counter())


def assert_year(rows, parts, usd):
    times = exact(parts, lambda kind: [ns for *_, ns in kind.rows()])
    assert told(rows, "gpu_ns") == nonzero(times)
    assert told(rows, "cost_nano_usd") == nonzero(usd)
    assert told(rows.with_columns(pl.col("energy_mj").fill_null(0)), "energy_mj") == nonzero(
        exact(parts, lambda kind: [0 if account == "unobserved" else energy(ns) for _, _, account, ns in kind.rows()])
    )
    assert sum(times.values()) == GPUS * sum(
        kind.existed_ns * count * len(hours) for fleet, hours in parts for kind, count in fleet
    )
    assert sum(usd.values()) == sum(kind.whole * count * len(hours) for fleet, hours in parts for kind, count in fleet)
    assert min(sum(times.values()), sum(usd.values())) > 2**63


def assert_spread(rows, usd):
    """What nobody held, over the holders by what they cost."""
    own = rows.filter(pl.col("pool") == "own")
    told = rows.select(pl.sum("cost_nano_usd") + pl.sum("spread_nano_usd")).item()
    assert told == sum(usd.values())
    idle, held = usd["", "unallocated"], sum(usd[key] for key in usd if key[1] in HELD)
    if not held:
        return
    assert own["spread_nano_usd"].sum() == idle
    for cost, spread in own.select("cost_nano_usd", "spread_nano_usd").iter_rows():
        assert abs(spread - Fraction(idle * cost, held)) < 1
