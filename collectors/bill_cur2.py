"""AWS Cost and Usage Report 2.0 (data exports, COST_AND_USAGE_REPORT); its names are those of legacy CUR in Athena.

Effective cost follows AWS's own rule for amortised cost: what a commitment covered costs its share of the commitment,
what it did not cover stands on the commitment's fee, and what was paid up front costs nothing on the day.
"""

import polars as pl

from collectors.bill_dialect import Dialect, Header, Rule
from collectors.bill_focus import AWS_TYPE, is_support

KIND = "line_item_line_item_type"

_CATEGORIES = {
    "Usage": "usage",
    "DiscountedUsage": "usage",
    "SavingsPlanCoveredUsage": "usage",
    "SavingsPlanNegation": "usage",  # takes away what SavingsPlanCoveredUsage bills too much
    "Fee": "purchase",
    "SavingsPlanUpfrontFee": "purchase",
    "RIFee": "unused_commitment",
    "SavingsPlanRecurringFee": "unused_commitment",
    "Tax": "tax",
    "Credit": "credit",
    "Refund": "refund",
    "Discount": "credit",
    "BundledDiscount": "credit",
    "EdpDiscount": "credit",
    "PrivateRateDiscount": "credit",
    "RiVolumeDiscount": "credit",
    "SppDiscount": "credit",
}
_COVERED = ("DiscountedUsage", "SavingsPlanCoveredUsage")
_NAUGHT = pl.lit("0")


def _arn(header: Header) -> pl.Expr:
    plan = header.text("savings_plan_savings_plan_a_r_n", "savings_plan_savings_plan_arn")
    return pl.coalesce(plan, header.text("reservation_reservation_a_r_n", "reservation_reservation_arn"))


def _category(header: Header) -> pl.Expr:
    given = header.text(KIND)
    kind = given.replace_strict(_CATEGORIES, default=given)
    support = is_support(header.text("line_item_product_code")) & kind.is_in(["usage", "purchase"])
    return pl.when(support).then(pl.lit("support")).otherwise(kind)


def _pricing(header: Header) -> pl.Expr:
    spot = header.text("line_item_usage_type").str.contains("SpotUsage") | (header.text("pricing_term") == "Spot")
    usage = header.text(KIND) == "Usage"
    return (
        pl.when(header.text(KIND).is_in(_COVERED) | _arn(header).is_not_null())
        .then(pl.lit("commitment"))
        .when(usage & spot)
        .then(pl.lit("spot"))
        .when(usage)
        .then(pl.lit("on_demand"))
        .otherwise(pl.lit("other"))
    )


def _product(header: Header, column: str, key: str) -> pl.Expr:
    """A product attribute: a column of its own, or a member of the ``product`` map, which is read as JSON."""
    return pl.coalesce(header.text(column), header.text("product").str.extract(rf'"{key}"\s*:\s*"([^"]+)"'))


def _instance_type(header: Header) -> pl.Expr:
    return pl.coalesce(
        _product(header, "product_instance_type", "instance_type"),
        header.text("line_item_usage_type").str.extract(AWS_TYPE),
    )


def _region(header: Header) -> pl.Expr:
    named = _product(header, "product_region_code", "region_code")
    return pl.coalesce(named, header.text("product_region"), header.text("line_item_availability_zone").str.head(-1))


def _effective(header: Header) -> pl.Expr:
    """What covered usage lacks stays null, and is refused: a covered line without its share would hide a cost. Fees of
    commitments have empty cells where there is nothing, which is not so of columns: see ``kind_needs``.
    """
    kind = header.text(KIND)
    reserved_fee = (kind == "Fee") & header.text(
        "reservation_reservation_a_r_n", "reservation_reservation_arn"
    ).is_not_null()
    return (
        pl.when(kind == "DiscountedUsage")
        .then(header.text("reservation_effective_cost"))
        .when(kind == "SavingsPlanCoveredUsage")
        .then(header.text("savings_plan_savings_plan_effective_cost"))
        .when(kind == "SavingsPlanRecurringFee")
        .then(pl.coalesce(header.text("savings_plan_total_commitment_to_date"), _NAUGHT))
        .when(kind == "RIFee")
        .then(pl.coalesce(header.text("reservation_unused_amortized_upfront_fee_for_billing_period"), _NAUGHT))
        .when(kind.is_in(["SavingsPlanNegation", "SavingsPlanUpfrontFee"]) | reserved_fee)
        .then(_NAUGHT)
        .otherwise(header.text("line_item_unblended_cost"))
    )


def _effective_plus(header: Header) -> pl.Expr:
    return pl.when(header.text(KIND) == "RIFee").then(header.text("reservation_unused_recurring_fee"))


def _effective_less(header: Header) -> pl.Expr:
    used = header.text("savings_plan_used_commitment")
    return pl.when(header.text(KIND) == "SavingsPlanRecurringFee").then(used)


def tag_key(name: str) -> str:
    """The key of a tag as people set it: without the prefix by which AWS marks the user's own."""
    return name.removeprefix("user:").removeprefix("user_")


def _tags(header: Header) -> pl.Expr:
    return header.text("resource_tags").str.replace_all(r'"user[_:]([^"]+"\s*:)', '"$1')


NEEDS = (
    ("bill_payer_account_id",),
    ("bill_billing_period_start_date",),
    ("line_item_usage_start_date",),
    ("line_item_usage_end_date",),
    (KIND,),
    ("line_item_product_code",),
    ("line_item_unblended_cost",),
    ("line_item_currency_code",),
)
FACTS: dict[str, Rule] = {
    "billing_account": "bill_payer_account_id",
    "sub_account": "line_item_usage_account_id",
    "provider": lambda _header: pl.lit("aws"),
    "region": _region,
    "zone": "line_item_availability_zone",
    "service": "line_item_product_code",
    "service_category": lambda header: _product(header, "product_product_family", "product_family"),
    "sku": ("product_sku", "pricing_rate_code", "line_item_usage_type"),
    "resource_id": "line_item_resource_id",
    "instance_type": _instance_type,
    "category": _category,
    "correction": lambda _header: pl.lit(value=False),
    "pricing": _pricing,
    "commitment_id": _arn,
    "description": "line_item_line_item_description",
    "unit": "pricing_unit",
    "currency": "line_item_currency_code",
    "tags": _tags,
}
FIGURES: dict[str, Rule] = {
    "billing_start": "bill_billing_period_start_date",
    "period_start": "line_item_usage_start_date",
    "period_end": "line_item_usage_end_date",
    "quantity": "line_item_usage_amount",
    "list": "pricing_public_on_demand_cost",
    "billed": "line_item_unblended_cost",
    "effective": _effective,
    "effective_plus": _effective_plus,
    "effective_less": _effective_less,
}

TOLD_BY = {"category": KIND}
KIND_NEEDS = {
    "DiscountedUsage": ("reservation_effective_cost",),
    "SavingsPlanCoveredUsage": ("savings_plan_savings_plan_effective_cost",),
    "SavingsPlanRecurringFee": ("savings_plan_total_commitment_to_date", "savings_plan_used_commitment"),
    "RIFee": (
        "reservation_unused_amortized_upfront_fee_for_billing_period",
        "reservation_unused_recurring_fee",
    ),
}

CUR_2 = Dialect(name="cur-2.0", needs=NEEDS, facts=FACTS, figures=FIGURES, told_by=TOLD_BY, kind_needs=KIND_NEEDS)
