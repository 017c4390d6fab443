"""What the books of the scripted month must come to, worked out with Python's own whole numbers and fractions.

Nothing here asks the ledger: time from the script's lives and the documents that could be pulled, list price times
time, each line of the bill on the hours that it paid for, by largest remainder where parts have to add up.
"""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction

from tests.integration.month_bill import LINES
from tests.integration.month_books import ON_PREM
from tests.integration.month_prices import list_price
from tests.integration.scripted_month import HOUR, INSTANCES, NODES, NS, STEPS, answer, pushed

HOUR_NS = 3600 * NS
HELD = ("active", "idle", "unmeasured")
BY_ID = {each.id: each for each in INSTANCES if each.id}


def apportion(whole, weights):
    """Parts of a whole by weight: floors, then one more for the largest remainders, the earlier first."""
    total = sum(weights)
    weights = weights if total else [1] * len(weights)
    parts, owed = zip(*(divmod(abs(whole) * weight, total or len(weights)) for weight in weights), strict=True)
    order = sorted(range(len(weights)), key=lambda n: (-owed[n], n))
    more = set(order[: abs(whole) - sum(parts)])
    sign = -1 if whole < 0 else 1
    return [sign * (part + (n in more)) for n, part in enumerate(parts)]


@dataclass
class NodeHour:
    """One machine in one hour."""

    instance: object
    hour: object
    existed_ns: int
    rows: dict = field(default_factory=dict)  # (uuid, kind, holder, account, method) to whole-GPU nanoseconds
    teams: dict = field(default_factory=dict)  # (kind, holder) to team
    state: str = "provisional"
    told: bool = False
    charges: dict = field(
        default_factory=lambda: defaultdict(int)
    )  # (billing account, category, layer) to nano-dollars
    list_nano: int | None = None
    costs: list = field(default_factory=list)  # (row, billing account, category, list, effective)

    @property
    def key(self):
        return self.hour, self.instance.node, self.instance.id

    def team(self, row):
        return self.teams.get(row[1:3], "")


@dataclass
class Truth:
    """All of it."""

    hours: dict  # key to NodeHour
    shared: dict  # (billing account, category) to nano-dollars
    homeless: dict  # key to nano-dollars: of hours in which the machine was gone
    bill: Fraction  # dollars, to the last digit
    corrected: set  # keys of hours that were closed, and closed again otherwise


def total_nano() -> int:
    """What all bills come to, each rounded once."""
    return sum(map(round_month, {(line.account, line.month) for line in LINES}))


def round_month(of):
    """A bill's total, rounded once."""
    return round(sum((line.effective for line in LINES if (line.account, line.month) == of), Fraction(0)) * NS)


def work_out():
    """The truth."""
    hours = {}
    for instance in INSTANCES:
        for hour in instance.hours():
            each = NodeHour(instance, hour, instance.existed_ns(hour))
            hours[each.key] = each
    seen, corrected = _seen()
    for (key, closed), document in seen.items():
        _book(hours[key], document, closed)
    bill = sum((line.effective for line in LINES), Fraction(0))
    truth = Truth(hours, defaultdict(int), defaultdict(int), bill, corrected)
    for each in hours.values():
        _add_unobserved(each)
        _add_list(each)
    _add_bill(truth)
    for each in hours.values():
        _add_costs(each)
    return truth


def _seen():
    """The last document of each hour that could be had, by key and whether it is closed; and what was corrected."""
    seen, corrected, last = {}, set(), {}
    for now in STEPS:
        for node in NODES:
            said = json.loads(answer(node, now, last.get(node)) or "{}")
            last[node] = said.get("change")
            for document in said.get("hours", ()):
                _keep(seen, corrected, document)
        for _, document in pushed(now):
            _keep(seen, corrected, json.loads(document))
    return {(key, document["closed"]): document for key, document in seen.items()}, corrected


def _keep(seen, corrected, document):
    key = datetime.fromisoformat(document["hour_utc"]), document["node"], document["node_facts"]["instance_id"]
    known = seen.get(key)
    if known is None or (known["closed"], known["revision"]) <= (document["closed"], document["revision"]):
        seen[key] = document
        if known and known["closed"] and known["usage"] != document["usage"]:
            corrected.add(key)


def _book(each, document, closed):
    each.told, each.state = True, "final" if closed else "provisional"
    for uuid, _, kind, holder, account, method, _, _, ns, _ in document["usage"]:
        row = uuid, kind, holder, account, method
        each.rows[row] = each.rows.get(row, 0) + ns
    for note in document["holders"]:
        known = dict(zip(document["holders_columns"], note, strict=True))
        each.teams[known["holder_kind"], known["holder"]] = known["team"]
    each.devices = set(document["devices"])


def _add_unobserved(each):
    devices = sorted(each.devices) if each.told else []
    missing = range(len(devices), each.instance.gpus)
    for uuid in [*devices, *(f"{each.instance.node}/gpu-{index}" for index in missing)]:
        known = sum(ns for row, ns in each.rows.items() if row[0] == uuid)
        if each.existed_ns > known:
            each.rows[uuid, "", "", "unobserved", "lifetime"] = each.existed_ns - known


def _add_list(each):
    """A node's price times the time that it existed, rounded once, half to even; parts by GPU time."""
    instance = each.instance
    price = instance.gpus * ON_PREM.nano_usd_per_hour() if not instance.id else list_price(instance, each.hour)
    if price is not None:
        each.list_nano = round(Fraction(price * each.existed_ns, HOUR_NS))


def _add_bill(truth):
    """Lines of one machine, period and kind are one sum; it goes over the hours that the machine existed in."""
    sums, booked = defaultdict(int), defaultdict(int)
    for line in LINES:
        booked[line.account, line.month] += line.nano()
        known = line.instance in BY_ID
        sums[line.instance if known else "", line.start, line.end, line.account, line.category, line.layer] += (
            line.nano()
        )
    for (instance, start, end, *group), nano in sums.items():
        if not instance:
            truth.shared[group[0], group[1]] += nano
        elif nano:
            _spread(truth, BY_ID[instance], start, end, tuple(group), nano)
    for (account, month), nano in booked.items():
        truth.shared[account, "rounding"] += round_month((account, month)) - nano


def _spread(truth, instance, start, end, group, nano):
    hours = [start + n * HOUR for n in range(int((end - start) / HOUR))]
    met = [
        truth.hours[hour, instance.node, instance.id]
        for hour in hours
        if (hour, instance.node, instance.id) in truth.hours
    ]
    if not met:
        truth.homeless[start, instance.node, instance.id] += nano
    for each, part in zip(met, apportion(nano, [each.existed_ns for each in met]) if met else (), strict=True):
        each.charges[group] += part


def _add_costs(each):
    rows = sorted(each.rows)
    times = [each.rows[row] for row in rows]
    listed = [None] * len(rows) if each.list_nano is None else apportion(each.list_nano, times)
    bearing = min((group for group in each.charges if group[1] == "usage"), default=None)
    if bearing is None:
        each.costs += [(row, "", "list", nano, None) for row, nano in zip(rows, listed, strict=True)]
    for group, nano in each.charges.items():
        parts = apportion(nano, times if each.list_nano is None else listed)
        for row, own, part in zip(rows, listed, parts, strict=True):
            each.costs.append((row, group[0], group[1], own if group == bearing else None, part))


def reason(each):
    """Why the bill differs from the list, as the script has it."""
    instance = each.instance
    effective = sum(nano for group, nano in each.charges.items() if group[1] == "usage")
    if instance.witness == "bill":
        return "unobserved_hours"
    if each.list_nano is None:
        return "no_list_price"
    if effective == each.list_nano:
        return "none"
    kinds = {"train-1": "commitment", "train-2": "commitment", "serve-2": "discount"}
    return "spot_price" if instance.capacity == "spot" else kinds.get(instance.node, "list_price")
