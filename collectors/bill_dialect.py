"""What a dialect of bills is: a table from the columns of a file to the facts and figures of a charge.

Owns the form of such tables and the reading of one cell, whatever its type in the file. A new dialect is a new table
(``bill_*.py``) and a line in :mod:`collectors.bill_dialects`. Must never guess an amount, nor pass one through a float.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

FACTS = (
    "billing_account",
    "sub_account",
    "provider",
    "region",
    "zone",
    "service",
    "service_category",
    "sku",
    "resource_id",
    "instance_type",
    "category",
    "correction",
    "pricing",
    "commitment_id",
    "description",
    "unit",
    "currency",
    "tags",
)
"""Text of a line, ``correction`` apart, which is Boolean. Hourly lines of one resource have the same facts."""

TIMES = ("billing_start", "period_start", "period_end")
AMOUNTS = ("list", "billed", "effective", "effective_plus", "effective_less")
"""Decimal texts; what a line costs effectively is ``effective + effective_plus - effective_less``."""
FIGURES = (*TIMES, "quantity", *AMOUNTS)

CATEGORIES = ("usage", "purchase", "tax", "credit", "refund", "adjustment", "support", "unused_commitment")


@dataclass(frozen=True, slots=True)
class Header:
    """The columns of a file, by name, with their types; of CSV all are text."""

    schema: Mapping[str, pl.DataType]

    def has(self, *names: str) -> bool:
        """Whether all of these are columns."""
        return all(name in self.schema for name in names)

    def text(self, *names: str) -> pl.Expr:
        """The first of these columns that is filled, as text; null where none is."""
        found = [self._as_text(name) for name in names if name in self.schema]
        return pl.coalesce(found) if found else pl.lit(None, dtype=pl.String)

    def raw(self, *names: str) -> pl.Expr:
        """The first of these columns that there is, in its own type; null where there is none."""
        return next((pl.col(name) for name in names if name in self.schema), pl.lit(None, dtype=pl.String))

    def _as_text(self, name: str) -> pl.Expr:
        """An empty text is no text: some exports write one for each null."""
        dtype = self.schema[name]
        text = map_as_json(pl.col(name)) if is_map(dtype) else pl.col(name).cast(pl.String)
        return pl.when(text != "").then(text)


Rule = str | tuple[str, ...] | Callable[[Header], pl.Expr]
"""A column; several, of which the first that is filled counts; or an expression over the columns there are."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One form of bills."""

    name: str
    needs: Sequence[tuple[str, ...]]
    """Columns without which nothing can be booked; of several in one entry any will do."""
    facts: Mapping[str, Rule]
    figures: Mapping[str, Rule]
    marked: Callable[[Sequence[str]], bool] = bool
    """Tells versions with the same needs apart, by the file's own names."""
    told_by: Mapping[str, str] = field(default_factory=dict[str, str])
    """For messages: the column that chiefly decides what an expression gives."""
    kind_needs: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    """By kind of line, as the column that tells the category has it: columns that a file with such lines needs too."""
    rename: Callable[[str], str] = str
    """The name that the table uses for a column of the file."""

    def missing(self, names: Sequence[str]) -> list[str]:
        """Needed columns that are not among these."""
        known = {self.rename(name) for name in names}
        return [" or ".join(any_of) for any_of in self.needs if not known.intersection(any_of)]

    def fits(self, names: Sequence[str]) -> bool:
        """Whether a file with these columns is of this dialect."""
        return not self.missing(names) and self.marked(names)

    def missing_by_kind(self, header: Header) -> dict[str, list[str]]:
        """Kinds of lines that a file with these columns may not have, with the columns that they lack."""
        lacks = {kind: [name for name in names if not header.has(name)] for kind, names in self.kind_needs.items()}
        return {kind: names for kind, names in lacks.items() if names}

    def fact_columns(self, header: Header) -> list[pl.Expr]:
        """One expression for each of :data:`FACTS`, over a frame with the table's names."""
        read = {name: _apply(self.facts.get(name), header) for name in FACTS}
        read["currency"] = read["currency"].str.to_uppercase()  # as rates name them
        return [rule.alias(name) for name, rule in read.items()]

    def figure_columns(self, header: Header) -> list[pl.Expr]:
        """One expression for each of :data:`FIGURES`; times in the file's own type, the others text."""
        times = [_apply_raw(self.figures.get(name), header).alias(name) for name in TIMES]
        return times + [_apply(self.figures.get(name), header).alias(name) for name in FIGURES if name not in TIMES]

    def column_of(self, name: str) -> str:
        """What messages call a fact or figure: the file's own column where the table names one."""
        rule = self.facts.get(name) or self.figures.get(name)
        return (
            self.told_by.get(name, name)
            if rule is None or callable(rule)
            else rule
            if isinstance(rule, str)
            else " or ".join(rule)
        )


def _apply(rule: Rule | None, header: Header) -> pl.Expr:
    if rule is None:
        return pl.lit(None, dtype=pl.String)
    if callable(rule):
        return rule(header)
    return header.text(rule) if isinstance(rule, str) else header.text(*rule)


def _apply_raw(rule: Rule | None, header: Header) -> pl.Expr:
    if rule is None or callable(rule):
        return _apply(rule, header)
    return header.raw(rule) if isinstance(rule, str) else header.raw(*rule)


def is_map(dtype: pl.DataType) -> bool:
    """Whether a column is a map of texts, as Parquet has them."""
    inner = dtype.inner if isinstance(dtype, pl.List) else None
    return isinstance(inner, pl.Struct) and [field.name for field in inner.fields] == ["key", "value"]


def map_as_json(column: pl.Expr) -> pl.Expr:
    """A map of texts as a flat JSON object; entries without a value are left out."""
    entry = pl.element().struct
    member = pl.format('"{}":"{}"', escaped(entry.field("key")), escaped(entry.field("value")))
    return pl.format("{{{}}}", column.list.eval(member).list.drop_nulls().list.join(","))


def columns_as_json(columns: Mapping[str, pl.Expr]) -> pl.Expr:
    """A flat JSON object of some columns, by key; null ones are left out."""
    members = [pl.format(f'"{_json(key)}":"{{}}"', escaped(column)) for key, column in columns.items()]
    if not members:
        return pl.lit("{}")
    return pl.format("{{{}}}", pl.concat_str(members, separator=",", ignore_nulls=True))


def escaped(text: pl.Expr) -> pl.Expr:
    """Text as it stands within a JSON string."""
    return text.str.replace_many(["\\", '"', "\n", "\r", "\t"], ["\\\\", '\\"', "\\n", "\\r", "\\t"])


def _json(key: str) -> str:
    return key.replace("\\", "\\\\").replace('"', '\\"').replace("{", "{{").replace("}", "}}")
