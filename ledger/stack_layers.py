"""Which layer of an AI stack a bill's line belongs to: one table of services, one of their categories.

Owns the tables; ``docs/guides/bills.md`` shows them. The first pattern that is found decides: services that are of one
layer whatever they bill, then the category or product family, then services that bill several things.
"""

import polars as pl

DATA_GOVERNANCE = "data_governance"
STORAGE = "storage"
COMPUTE = "compute"
MODEL_TOOLCHAIN = "model_toolchain"
ORCHESTRATION = "orchestration"
SERVING_OBSERVABILITY = "serving_observability"
LAYERS = (DATA_GOVERNANCE, STORAGE, COMPUTE, MODEL_TOOLCHAIN, ORCHESTRATION, SERVING_OBSERVABILITY)

SERVICES = (
    (r"kubernetes|\beks\b|amazoneks|container service|amazonecs|\baks\b|\bgke\b|openshift", ORCHESTRATION),
    (
        r"batch|step functions|airflow|workflow|composer|queue|amazonsqs|notification|amazonsns|eventbridge",
        ORCHESTRATION,
    ),
    (r"cloudwatch|monitor|log analytics|grafana|prometheus|x-?ray|datadog|observability", SERVING_OBSERVABILITY),
    (r"load balanc|elb\b|api ?gateway|cloudfront|front door|\bcdn\b|bedrock|openai", SERVING_OBSERVABILITY),
    (
        r"sagemaker|machine learning|vertex|\bml\b|container registry|amazonecr|artifact|codebuild|devops",
        MODEL_TOOLCHAIN,
    ),
    (r"simple storage|amazons3|glacier|file system|amazonefs|fsx|storage account|cloud storage|backup", STORAGE),
    (r"identity|key management|awskms|secrets|security|guardduty|macie|\bwaf\b|cloudtrail|awsconfig", DATA_GOVERNANCE),
    (r"glue|lake ?formation|athena|redshift|bigquery|synapse|databricks|snowflake|database|dynamodb", DATA_GOVERNANCE),
    (r"support|tax|savings ?plans|cost ?explorer|budgets|organizations", DATA_GOVERNANCE),
)
"""Patterns of service names and codes, whatever their case."""

CATEGORIES = (
    (r"load balancer", SERVING_OBSERVABILITY),
    (r"^storage|snapshot|volume", STORAGE),
    (r"^ai and machine learning|developer tools", MODEL_TOOLCHAIN),
    (r"^integration|containers", ORCHESTRATION),
    (r"^compute|network|data transfer|nat gateway|ip address|system operation|cpu credits", COMPUTE),
    (r"^databases?|analytics|identity|security|management and governance|business applications", DATA_GOVERNANCE),
    (r"^(?:web|mobile|media)", SERVING_OBSERVABILITY),
)
"""Patterns of FOCUS service categories and AWS product families."""

MIXED = ((r"ec2|elastic compute|virtual machine|compute|lambda|virtual private cloud|vpc|network|route 53", COMPUTE),)
"""Services that bill several layers, for lines without a category."""


def stack_layer(service: pl.Expr, category: pl.Expr) -> pl.Expr:
    """The layer; what nothing claims (tax, support, fees of the account) is data and governance."""
    rules = (*((service, *row) for row in SERVICES), *((category, *row) for row in CATEGORIES))
    found = [
        pl.when(text.str.contains(f"(?i){pattern}")).then(pl.lit(layer))
        for text, pattern, layer in (*rules, *((service, *row) for row in MIXED))
    ]
    return pl.coalesce(*found, pl.lit(DATA_GOVERNANCE))
