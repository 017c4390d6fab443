"""FOCUS, the open specification of bills: AWS, Azure, Google Cloud, Oracle and others export it. Versions 1.0 and 1.2.

Columns by https://focus.finops.org, with the ``x_`` columns in which providers say an instance's type. Times without a
zone are UTC, as the specification has it.
"""

import polars as pl

from collectors.bill_dialect import Dialect, Header, Rule

AWS_TYPE = (
    r"\b((?:(?:db|ml|cache)\.)?(?:u-)?[a-z][a-z0-9]*(?:-[a-z0-9]+)?"
    r"\.(?:nano|micro|small|medium|(?:\d+x)?large|metal)(?:-[a-z0-9]+)?)\b"
)
"""An AWS instance type within a longer text, such as ``p5.48xlarge`` in ``USE1-BoxUsage:p5.48xlarge``."""

_PROVIDERS = (
    (r"(?i)\baws\b|amazon", "aws"),
    (r"(?i)microsoft|azure", "azure"),
    (r"(?i)google|\bgcp\b", "gcp"),
    (r"(?i)oracle|\boci\b", "oci"),
)
_KINDS = {"usage": "usage", "purchase": "purchase", "tax": "tax", "credit": "credit", "adjustment": "adjustment"}
_PRICING = {"standard": "on_demand", "dynamic": "spot", "committed": "commitment"}


def _provider(header: Header) -> pl.Expr:
    name = header.text("ServiceProviderName", "ProviderName", "HostProviderName")
    known = [pl.when(name.str.contains(pattern)).then(pl.lit(short)) for pattern, short in _PROVIDERS]
    return pl.coalesce(*known, name.str.to_lowercase())


def _category(header: Header) -> pl.Expr:
    """``usage`` of a commitment that nobody used is what it is; a category that is not known is left to be refused."""
    given = header.text("ChargeCategory")
    kind = given.str.to_lowercase().replace_strict(_KINDS, default=given)
    unused = header.text("CommitmentDiscountStatus").str.to_lowercase() == "unused"
    support = is_support(header.text("ServiceName")) & kind.is_in(["usage", "purchase"])
    return (
        pl.when((kind == "usage") & unused)
        .then(pl.lit("unused_commitment"))
        .when(support)
        .then(pl.lit("support"))
        .otherwise(kind)
    )


def is_support(service: pl.Expr) -> pl.Expr:
    """Whether a service is a support plan: ``AWS Support (Business)``, ``AWSSupportEnterprise``, ``Azure Support``."""
    return service.str.contains(
        r"(?i)^(?:(?:aws|amazon|azure|microsoft|google( cloud)?|oracle)\s*)?(?:premium\s+)?support"
    )


def _pricing(header: Header) -> pl.Expr:
    category = header.text("PricingCategory").str.to_lowercase()
    used = header.text("CommitmentDiscountId").is_not_null() & header.text("CommitmentDiscountStatus").is_not_null()
    return pl.when(used).then(pl.lit("commitment")).otherwise(category.replace_strict(_PRICING, default="other"))


def _instance_type(header: Header) -> pl.Expr:
    """Said outright in SkuPriceDetails or a provider's own details; else within meter, usage type or description."""
    details = header.text("SkuPriceDetails", "x_SkuDetails")
    labels = header.text("x_SystemLabels", "x_system_labels")
    meters = [header.text(name) for name in ("SkuMeter", "x_SkuMeter", "x_UsageType", "ChargeDescription")]
    return pl.coalesce(
        details.str.extract(r'(?i)"(?:x_)?(?:InstanceType|ServiceType|VMSize)"\s*:\s*"([^"]+)"'),
        labels.str.extract(r'compute\.googleapis\.com/machine_spec"[^a-z0-9]+(?:value"?[^a-z0-9]+)?([a-z0-9-]+)'),
        *[meter.str.extract(AWS_TYPE) for meter in meters],
    )


def _tags(header: Header) -> pl.Expr:
    """A flat JSON object; members without the braces around them are given these."""
    text = header.text("Tags").str.strip_chars()
    return pl.when(text.str.starts_with('"')).then(pl.format("{{{}}}", text)).otherwise(text)


_NEEDS = (
    ("BillingAccountId",),
    ("BillingCurrency",),
    ("BillingPeriodStart",),
    ("ChargePeriodStart",),
    ("ChargePeriodEnd",),
    ("ChargeCategory",),
    ("BilledCost",),
    ("EffectiveCost",),
    ("ProviderName", "ServiceProviderName"),
    ("ServiceName",),
)
_FACTS: dict[str, Rule] = {
    "billing_account": "BillingAccountId",
    "sub_account": "SubAccountId",
    "provider": _provider,
    "region": ("RegionId", "RegionName"),
    "zone": "AvailabilityZone",
    "service": "ServiceName",
    "service_category": "ServiceCategory",
    "sku": ("SkuPriceId", "SkuId"),
    "resource_id": ("ResourceId", "ResourceName"),
    "instance_type": _instance_type,
    "category": _category,
    "correction": lambda header: header.text("ChargeClass").str.to_lowercase() == "correction",
    "pricing": _pricing,
    "commitment_id": "CommitmentDiscountId",
    "description": "ChargeDescription",
    "unit": ("PricingUnit", "ConsumedUnit"),
    "currency": "BillingCurrency",
    "tags": _tags,
}
_FIGURES: dict[str, Rule] = {
    "billing_start": "BillingPeriodStart",
    "period_start": "ChargePeriodStart",
    "period_end": "ChargePeriodEnd",
    "quantity": ("PricingQuantity", "ConsumedQuantity"),
    "list": "ListCost",
    "billed": "BilledCost",
    "effective": "EffectiveCost",
}
_TOLD_BY = {"category": "ChargeCategory"}
_SINCE_1_2 = {
    "BillingAccountType",
    "CapacityReservationId",
    "InvoiceId",
    "PricingCurrency",
    "ServiceSubcategory",
    "SkuMeter",
    "SkuPriceDetails",
}

FOCUS_1_2 = Dialect(
    name="focus-1.2",
    needs=_NEEDS,
    facts=_FACTS,
    figures=_FIGURES,
    told_by=_TOLD_BY,
    marked=lambda names: not _SINCE_1_2.isdisjoint(names),
)
FOCUS_1_0 = Dialect(name="focus-1.0", needs=_NEEDS, facts=_FACTS, figures=_FIGURES, told_by=_TOLD_BY)
