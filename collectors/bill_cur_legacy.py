"""AWS Cost and Usage Report, the older one: ``lineItem/UnblendedCost`` in CSV, the same in small letters in Parquet.

Its names become those of :mod:`collectors.bill_cur2`; its tags are columns of their own.
"""

import re

import polars as pl

from collectors.bill_cur2 import FACTS, FIGURES, KIND_NEEDS, NEEDS, TOLD_BY, tag_key
from collectors.bill_dialect import Dialect, Header, columns_as_json

_TAGS = ("resourceTags/", "resource_tags_")
_CAPITAL = re.compile(r"(?<=[a-z0-9A-Z])(?=[A-Z])")


def snake(name: str) -> str:
    """``savingsPlan/SavingsPlanARN`` as AWS itself writes it for Athena: ``savings_plan_savings_plan_a_r_n``."""
    if "/" not in name or name.startswith(_TAGS):
        return name
    return "_".join(_CAPITAL.sub("_", part).lower() for part in name.split("/"))


def _tags(header: Header) -> pl.Expr:
    tags = sorted(name for name in header.schema if name.startswith(_TAGS))
    return columns_as_json({tag_key(_without_prefix(name)): header.text(name) for name in tags})


def _without_prefix(name: str) -> str:
    return next(name.removeprefix(prefix) for prefix in _TAGS if name.startswith(prefix))


CUR_LEGACY = Dialect(
    name="cur-legacy",
    needs=NEEDS,
    facts={**FACTS, "tags": _tags},
    figures=FIGURES,
    told_by=TOLD_BY,
    kind_needs=KIND_NEEDS,
    marked=lambda names: any("/" in name or name.startswith(_TAGS) for name in names),
    rename=snake,
)
