"""Small books made by the functions that make real ones: two nodes for three hours, a bill with lines of every kind."""

from datetime import UTC, date, datetime, timedelta

import polars as pl

from collectors.carbon_intensity import load
from collectors.price_list import PriceRow
from ledger.carbon import Carbon
from ledger.carbon_settings import CarbonSettings
from ledger.cost_keeper import CostKeeper
from ledger.costing import Costing, CostRules
from ledger.keeper import Keeper
from ledger.node_split import NodeSplit
from ledger.price_live_settings import LivePriceSettings
from ledger.price_settings import PriceSettings
from ledger.price_table import LedgerPrices
from ledger.store import Store
from ledger.tables import BILLS, CHARGES, LIFETIMES
from tests.ledger.ledger_rig import MINUTE_NS, MODEL, agent_hour, at, row

USD = 10**9
HOUR = timedelta(hours=1)
DAY = datetime(2026, 11, 1, tzinfo=UTC)
LISTED = PriceRow("aws", "eu-west-1", "p5", "H100-80GB", 2, "on_demand", 8 * USD, "list", date(2026, 10, 1))
FACTS = {"region": "eu-west-1", "instance_type": "p5", "vcpus": 64, "memory_bytes": 2**38}


def agent(node, hour):
    """20 minutes of work, 10 idle, the rest unallocated on one device; another pod on the second all the hour."""
    uuid = f"GPU-{node}"
    return agent_hour(
        hour,
        row(f"{uuid}1", "active", 20 * MINUTE_NS, 700_000),
        row(f"{uuid}1", "idle", 10 * MINUTE_NS, 90_000, energy="idle_split"),
        row(f"{uuid}1", "unallocated", 30 * MINUTE_NS, 250_001, holder="", energy="idle_split"),
        row(f"{uuid}2", "active", 60 * MINUTE_NS, 2_400_000, holder="ml/train-0/worker"),
        node=node,
        facts={**FACTS, "instance_id": f"i-{node}"},
    )


def line(line_id, usd, instance="", start=None, length=HOUR, category="usage", **more):
    start = start or at(5)
    texts = {name: "" for name, dtype in CHARGES.schema.items() if dtype == pl.String}
    return {
        **texts,
        "month": date(2026, 11, 1),
        "bill_id": "bill-1",
        "line_id": line_id,
        "billing_account": "111",
        "period_start": start,
        "period_end": start + length,
        "provider": "aws",
        "region": "eu-west-1",
        "service": "ec2",
        "service_category": "Compute",
        "resource_id": instance,
        "instance_id": instance,
        "category": category,
        "correction": False,
        "pricing": "on_demand",
        "stack_layer": "compute",
        "list_nano_usd": usd,
        "billed_nano_usd": usd,
        "effective_nano_usd": usd,
        "currency": "USD",
        "fx": "1",
        "tags": "{}",
        **more,
    }


LINES = (
    *(line(f"a{n}", 7 * USD + n, "i-a", at(5 + n)) for n in range(3)),
    line("b", 20 * USD + 1, "i-b", DAY, timedelta(days=1), pricing="commitment", commitment_id="sp-1"),
    line("credit", -USD, "i-a", at(5), category="credit"),
    line("tax", 3 * USD + 1, "", DAY, timedelta(days=2), category="tax"),
    line("storage", 2 * USD, "", at(5), 3 * HOUR, stack_layer="data"),
    line("rounding", 1, "", DAY, timedelta(days=1), category="rounding", service="rounding"),
)


def bill(lines, **more):
    texts = {name: "" for name, dtype in BILLS.schema.items() if dtype == pl.String}
    sums = {name: sum(each[name] for each in lines) for name in ("billed_nano_usd", "effective_nano_usd")}
    own = sum(each["category"] != "rounding" for each in lines)
    told = {"bill_id": "bill-1", "month": date(2026, 11, 1), "lines": own, "state": "booked", "complete": False}
    return {**texts, "read_at": at(12), **told, **sums, **more}


def deliver(store, lines):
    store.replace(CHARGES, pl.DataFrame(list(lines), schema=CHARGES.schema), {})
    store.replace(BILLS, pl.DataFrame([bill(lines)], schema=BILLS.schema), {})


def rules(split=NodeSplit.EQUAL):
    known = LedgerPrices(PriceSettings(fallback="none"), [LISTED], LivePriceSettings())
    return CostRules(known, Carbon(CarbonSettings(), load()), split)


def lived(store, nodes="ab", first=5, hours=3, evidence="api"):
    """API witnesses of nodes that existed for some hours."""
    known = {
        "cluster": "eu",
        "provider": "aws",
        "region": "eu-west-1",
        "zone": "",
        "instance_type": "p5",
        "capacity_type": "on_demand",
        "gpu_count": 2,
        "gpu_model": MODEL,
        "evidence": evidence,
    }
    end = at(first + hours)
    rows = [
        {**known, "node": node, "instance_id": f"i-{node}", "began": at(first), "ended": end, "seen": end}
        for node in nodes
    ]
    store.replace(LIFETIMES, pl.DataFrame(rows, schema=LIFETIMES.schema), {})


def keep(store, *, hours=3, silent=(), split=NodeSplit.EQUAL):
    """Nodes a and b from 05:00 on, booked as their journals come; ``silent`` are node and number of the hour."""
    lived(store, hours=hours)
    agents = [agent(node, at(5 + n)) for n in range(hours) for node in "ab" if (node, n) not in silent]
    Keeper(store, Costing(store, rules(split)), cluster="eu").keep(agents, since=at(5), now=at(12))


def books(root, *, hours=3, lines=LINES, split=NodeSplit.EQUAL, silent=(("b", 1),)) -> Store:
    """A ledger with all of it; in the second hour node b is silent, and so unobserved."""
    store = Store(str(root))
    store.claim_epoch()
    keep(store, hours=hours, silent=silent, split=split)
    if lines:
        deliver(store, lines)
    CostKeeper(store, rules(split)).run(at(12))
    return store
