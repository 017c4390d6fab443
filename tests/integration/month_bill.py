"""The lines of the scripted month's bills, of two accounts.

A line's effective cost is written down here as a fraction, and apart from that as the columns from which the ledger has
to work it out.
"""

from dataclasses import dataclass, replace
from fractions import Fraction

from tests.integration.month_prices import DAY, list_price
from tests.integration.scripted_month import (
    BURSTS,
    CPU_ID,
    END,
    G5,
    GHOST,
    HOUR,
    LOST,
    NS,
    ODD_1,
    SERVE_1,
    SERVE_2,
    SPOT_2,
    SPOT_A,
    SPOT_B,
    START,
    TRAIN_1,
    TRAIN_2,
    VANISH,
    feb,
)

CUR, FOCUS = "111111111111", "222222222222"
"""The billing accounts."""
PLAN = "arn:aws:savingsplans::111111111111:savingsplan/11111111-2222"
RESERVED = "arn:aws:ec2:eu-west-1:111111111111:reserved-instances/33333333-4444"
COVERED, RESERVED_RATE, PLAN_FEE = "55.12345678", "41.2739999995", "60"


@dataclass(frozen=True)
class Line:
    """A line of a bill."""

    account: str
    kind: str  # as CUR calls it; FOCUS's own for the other account
    start: object
    end: object
    list: str
    billed: str
    effective: Fraction
    category: str
    resource: str = ""
    product: str = "AmazonEC2"
    family: str = "Compute Instance"
    usage: str = ""
    layer: str = "compute"
    pricing: str = "on_demand"
    more: tuple = ()  # further columns
    month: object = START

    @property
    def instance(self):
        return self.resource if self.resource.startswith("i-") else ""

    def nano(self):
        return round(self.effective * NS)


def usd(amount, digits=10):
    """A decimal with so many digits, rounded half to even."""
    units = round(Fraction(amount) * 10**digits)
    whole, part = divmod(abs(units), 10**digits)
    return f"{'-' if units < 0 else ''}{whole}.{part:0{digits}}"


def _hourly(instance, account, kind="Usage", **known):
    """A line for each hour in which an instance was there, by the second; ``rate`` is by hour."""
    rate = known.pop("rate", lambda hour: Fraction(list_price(instance, hour), NS))
    for hour in instance.hours():
        part = Fraction(instance.existed_ns(hour), 3600 * NS)
        listed, cost = usd(rate(hour) * part), usd(rate(hour) * part)
        yield Line(
            account,
            kind,
            hour,
            hour + HOUR,
            listed,
            cost,
            Fraction(cost),
            "usage",
            instance.id,
            usage=f"EUW1-BoxUsage:{instance.type}",
            month=START if hour < END else END,
            **known,
        )


def _reserved():
    for line in _hourly(TRAIN_1, CUR, "DiscountedUsage", pricing="commitment"):
        more = (("reservation_reservation_a_r_n", RESERVED), ("reservation_effective_cost", RESERVED_RATE))
        yield replace(line, billed="0", effective=Fraction(RESERVED_RATE), more=more)


def _planned():
    """Usage that a savings plan covers, what takes its billed cost away again, and the plan's own fee."""
    plan = ("savings_plan_savings_plan_a_r_n", PLAN)
    for line in _hourly(TRAIN_2, CUR, "SavingsPlanCoveredUsage", pricing="commitment"):
        part = Fraction(TRAIN_2.existed_ns(line.start), 3600 * NS)
        used = usd(Fraction(COVERED) * part, 12)
        more = (plan, ("savings_plan_savings_plan_effective_cost", used))
        yield replace(line, effective=Fraction(used), more=more)
        yield replace(
            line, kind="SavingsPlanNegation", list="0", billed=f"-{line.billed}", effective=Fraction(0), more=(plan,)
        )
        fee = (plan, ("savings_plan_total_commitment_to_date", PLAN_FEE), ("savings_plan_used_commitment", used))
        yield replace(
            line,
            kind="SavingsPlanRecurringFee",
            list="0",
            billed=PLAN_FEE,
            effective=Fraction(PLAN_FEE) - Fraction(used),
            category="unused_commitment",
            resource="",
            product="ComputeSavingsPlans",
            family="",
            usage="ComputeSP",
            layer="data_governance",
            more=fee,
        )


def _spots():
    for instance in (SPOT_A, SPOT_B, SPOT_2, *BURSTS):
        # what was paid lies below the published price, which changes within the hours
        for line in _hourly(
            instance, CUR, rate=lambda hour, i=instance: Fraction(list_price(i, hour), NS) * Fraction(97, 100)
        ):
            yield replace(line, usage=f"EUW1-SpotUsage:{G5}", pricing="spot", list=usd(Fraction(line.billed) * 2))


def _hourly_lines():
    yield from _reserved()
    yield from _planned()
    yield from _spots()
    yield from _hourly(SERVE_1, CUR)
    yield from _hourly(VANISH, CUR)
    yield from _hourly(GHOST, CUR)
    yield from _hourly(ODD_1, CUR, rate=lambda _hour: Fraction("7.77"))
    for line in _hourly(SERVE_2, FOCUS, "Usage"):
        less = usd(Fraction(line.billed) * Fraction(931, 1000), 12)
        yield replace(line, billed=less, effective=Fraction(less))
    yield from _hourly(LOST, FOCUS, "Usage", rate=lambda _hour: Fraction("5.7"))
    cpu = Line(CUR, "Usage", START, START + HOUR, "0.1008", "0.1008", Fraction("0.1008"), "usage", CPU_ID)
    for n in range(100):
        at = feb(6) + n * HOUR
        yield replace(cpu, start=at, end=at + HOUR, usage="EUW1-BoxUsage:m7i.large")


def _daily_lines():
    transfer = {"product": "AWSDataTransfer", "family": "Data Transfer", "usage": "EUW1-DataTransfer-Out-Bytes"}
    disk = {"family": "Storage", "usage": "EUW1-EBS:VolumeUsage.gp3", "layer": "storage"}
    for n in range(28):
        at = START + n * DAY
        sent = f"{3 + n}.000000000{n % 10}"
        yield Line(CUR, "Usage", at, at + DAY, sent, sent, Fraction(sent), "usage", TRAIN_1.id, **transfer)
        yield Line(CUR, "Usage", at, at + DAY, "1.25", "1.25", Fraction("1.25"), "usage", "vol-0a1", **disk)
    yield Line(CUR, "Credit", feb(9), feb(10), "0", "-12.5", Fraction("-12.5"), "credit", SERVE_1.id, pricing="other")


def _monthly_lines():
    whole = {"start": START, "end": END, "pricing": "other"}
    watch = {"product": "AmazonCloudWatch", "family": "Metric", "usage": "EUW1-CW:MetricMonitorUsage"}
    yield Line(
        CUR,
        "Usage",
        feb(19),
        feb(22),
        "13.3700000001",
        "13.3700000001",
        Fraction("13.3700000001"),
        "usage",
        SERVE_1.id,
        layer="serving_observability",
        **watch,
    )
    common = {"family": "", "layer": "data_governance", **whole}
    tax = {"account": CUR, "kind": "Tax", "list": "0", "category": "tax", "product": "AmazonEC2", **common}
    yield Line(**{**tax, "billed": "8765.4321098765", "effective": Fraction("8765.4321098765"), "layer": "compute"})
    support = {"list": "1000", "billed": "1000.01", "effective": Fraction("1000.01"), "category": "support"}
    yield Line(CUR, "Fee", product="AWSSupportBusiness", **support, **common)
    fee = (
        ("reservation_reservation_a_r_n", RESERVED),
        ("reservation_unused_amortized_upfront_fee_for_billing_period", "20.25"),
        ("reservation_unused_recurring_fee", "100.5000000009"),
    )
    rest = {"layer": "compute", "family": "Compute Instance", **whole}
    yield Line(
        CUR,
        "RIFee",
        list="0",
        billed="27000",
        effective=Fraction("120.7500000009"),
        category="unused_commitment",
        more=fee,
        **rest,
    )
    yield Line(CUR, "Fee", list="0", billed="5000", effective=Fraction(0), category="purchase", more=fee[:1], **rest)
    least = "0.0000000004"
    keys = {"product": "awskms", "family": "Encryption Key", "usage": "EUW1-KMS-Requests", "layer": "data_governance"}
    yield Line(CUR, "Usage", START, END, least, least, Fraction(least), "usage", "key-1", **keys)
    refund = {"list": "0", "billed": "-1.25", "effective": Fraction("-1.25"), "category": "refund", "pricing": "other"}
    yield Line(CUR, "Refund", feb(12, 9), feb(12, 10), resource=VANISH.id, **refund)
    # of an hour in which the machine was gone already
    yield Line(CUR, "Refund", feb(12, 11), feb(12, 12), resource=VANISH.id, **refund)
    vat = {"list": "0", "billed": "77.123456789012", "effective": Fraction("77.123456789012"), "category": "tax"}
    yield Line(FOCUS, "Tax", layer="data_governance", product="Tax", family="Other", **vat, **whole)


def _corrections():
    """In March's bill, of February."""
    wrong = {"product": "AmazonEC2", "month": END, "list": "0", "pricing": "other", "category": "usage"}
    for hour, amount in ((feb(4, 10), "-0.333333333333"), (feb(4, 11), "0.1000000001")):
        yield Line(
            FOCUS,
            "Usage",
            hour,
            hour + HOUR,
            billed=amount,
            effective=Fraction(amount),
            resource=SERVE_2.id,
            usage=f"EUW1-BoxUsage:{G5}",
            more=(("ChargeClass", "Correction"),),
            **wrong,
        )
    yield Line(
        CUR,
        "Refund",
        feb(8, 3),
        feb(8, 4),
        "0",
        "-0.75",
        Fraction("-0.75"),
        "refund",
        SPOT_2.id,
        pricing="other",
        month=END,
    )


LINES = (*_hourly_lines(), *_daily_lines(), *_monthly_lines(), *_corrections())
"""All that is billed in the end."""
