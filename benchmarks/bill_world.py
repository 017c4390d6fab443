"""A month's bill of a fleet, as large as is asked for: 14,000 things billed by the hour, 2,000 of them nodes."""

import polars as pl

KINDS = 14_000
NODES = 2_000
HOURS = 720
START = pl.datetime(2026, 11, 1)


def node_hours() -> pl.DataFrame:
    """Each node in each hour of the month."""
    nodes = pl.LazyFrame({"number": range(NODES)})
    hours = pl.LazyFrame({"hour": range(HOURS)})
    return (
        nodes.join(hours, how="cross")
        .select(
            instance_id=_instance(pl.col("number")),
            hour_utc=(START + pl.duration(hours=pl.col("hour"))).dt.replace_time_zone("UTC"),
            node=pl.format("node-{}", "number"),
        )
        .collect()
    )


_SAME = {
    "BillingAccountId": "123456789012",
    "BillingAccountName": "acme",
    "BillingCurrency": "USD",
    "BillingPeriodEnd": "2026-12-01T00:00:00Z",
    "BillingPeriodStart": "2026-11-01T00:00:00Z",
    "ChargeCategory": "Usage",
    "ChargeFrequency": "Usage-Based",
    "ConsumedUnit": "Hours",
    "ContractedUnitPrice": "0.0000",
    "InvoiceIssuerName": "Amazon Web Services, Inc.",
    "ListUnitPrice": "0.0000004",
    "PricingUnit": "Hours",
    "ProviderName": "AWS",
    "PublisherName": "Amazon Web Services, Inc.",
    "RegionId": "us-east-1",
    "RegionName": "US East (N. Virginia)",
}
"""Columns that are alike on every line."""


def lines_of(first: int, last: int) -> pl.LazyFrame:
    """Lines of FOCUS 1.0 with AWS's columns, all text; every amount has ten decimals, no two lines are alike.

    The tenth decimal is never 5: the two sides round a half differently.
    """
    line = pl.int_range(first, last, dtype=pl.Int64, eager=True).alias("line").to_frame().lazy()
    kind, hour = pl.col("line") % KINDS, pl.col("line") // KINDS % HOURS
    node = kind < NODES
    scattered = pl.col("line") * 7919 % 100_003
    nano = (scattered * 1_000_003 % 10**9).cast(pl.String).str.zfill(9)
    usd = pl.format("{}.{}{}", scattered % 97, nano, scattered % 4 + 1)
    quantity = pl.format("{}.{}", scattered % 3, (scattered * 7919 % 10**6).cast(pl.String).str.zfill(6))
    committed = kind % 10 == 0
    begin = START + pl.duration(hours=hour)
    absent = pl.lit(None, dtype=pl.String)
    balancer = "arn:aws:elasticloadbalancing:us-east-1:586597448978:loadbalancer/app/x-{}/1365455f461"
    columns: dict[str, pl.Expr] = {
        **{name: pl.lit(value) for name, value in _SAME.items()},
        "AvailabilityZone": pl.format(
            "us-east-1{}", (kind % 6).cast(pl.String).replace(list("012345"), list("abcdef"))
        ),
        "BilledCost": usd,
        "ChargeClass": absent,
        "ChargeDescription": pl.format("$98.32 per On Demand Linux p5.48xlarge Instance Hour, offer {}", kind % 50),
        "ChargePeriodEnd": _time(begin + pl.duration(hours=1)),
        "ChargePeriodStart": _time(begin),
        "CommitmentDiscountCategory": absent,
        "CommitmentDiscountId": pl.when(committed).then(
            pl.lit("arn:aws:savingsplans::123456789012:savingsplan/37985e61")
        ),
        "CommitmentDiscountStatus": pl.when(committed).then(pl.lit("Used")),
        "ConsumedQuantity": quantity,
        "ContractedCost": usd,
        "EffectiveCost": usd,
        "ListCost": usd,
        "PricingCategory": pl.when(committed).then(pl.lit("Committed")).otherwise(pl.lit("Standard")),
        "PricingQuantity": quantity,
        "ResourceId": pl.when(node).then(_instance(kind)).otherwise(pl.format(balancer, kind)),
        "ResourceName": absent,
        "ResourceType": absent,
        "ServiceCategory": pl.when(node).then(pl.lit("Compute")).otherwise(pl.lit("Networking")),
        "ServiceName": pl.when(node).then(pl.lit("Amazon Elastic Compute Cloud")).otherwise(pl.lit("AWSELB")),
        "SkuId": pl.format("SKU{}", kind % 300),
        "SkuPriceId": pl.format("SKU{}.JRTCKXETXF.6YS6EN2CT7", kind % 300),
        "SubAccountId": pl.format("4388391{}", kind % 70),
        "SubAccountName": pl.format("team {}", kind % 70),
        "Tags": pl.when(kind % 3 > 0).then(pl.format('{{"application": "app-{}", "environment": "dev"}}', kind % 300)),
    }
    return line.select(**dict(sorted(columns.items())))


def _instance(number: pl.Expr) -> pl.Expr:
    return pl.format("i-{}", (number + 10**16).cast(pl.String))


def _time(moment: pl.Expr) -> pl.Expr:
    return moment.dt.strftime("%Y-%m-%dT%H:%M:%SZ")
