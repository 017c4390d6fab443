"""Facts of lines, worked out once for all lines that share them.

Hourly lines of one resource say the same in all columns but time, quantity and amounts; what is dear (patterns,
digests, tags) is done on distinct facts, which are told by two independent hashes of all their columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from threading import Lock

import polars as pl

from collectors.bill_dialect import FACTS, columns_as_json
from ledger.instance_ids import instance_id
from ledger.stack_layers import stack_layer

KIND = "__kind"
"""Of a line's facts, within this delivery and process."""
HASH = "__hash"
"""Of a line's content: the same in every delivery, with every version of polars."""
FACT_COLUMNS = (*FACTS, "instance_id", "stack_layer")
MOST_KINDS = 200_000
"""Kept from batch to batch; more, where each line has facts of its own, are put down beside their lines."""

_AGAIN = "__again"
_NARROW = ("category", "currency", "billing_account", "provider")
"""Facts that sums and checks need of each line."""


@dataclass(slots=True)
class Kinds:
    """The distinct facts of a delivery, for any thread."""

    known: pl.DataFrame | None = None
    """:data:`KIND`, :data:`FACT_COLUMNS` and the digest."""
    _one_at_a_time: Lock = field(default_factory=Lock, repr=False)

    def of(self, raw: pl.DataFrame, rules: Sequence[pl.Expr]) -> pl.DataFrame:
        """For each row the digest and the facts that sums need, with :data:`KIND` to find the others by; or all facts.

        Args:
            raw: the columns that facts are made of.
            rules: how facts are made of them.
        """
        marked = raw.with_columns(hash_of(raw.columns, 0).alias(KIND), hash_of(raw.columns, 1).alias(_AGAIN))
        here = marked.unique(KIND, keep="any")
        if marked.select(KIND, _AGAIN).unique().height > here.height:
            return _worked_out(marked, rules).drop(KIND, _AGAIN)
        with self._one_at_a_time:
            if self._clashes(here):
                return _worked_out(marked, rules).drop(KIND, _AGAIN)
            known = self._with(here, rules)
        if known is None:
            all_facts = marked.select(KIND).join(_worked_out(here, rules), on=KIND, how="left", maintain_order="left")
            return all_facts.drop(KIND, _AGAIN)
        narrow = known.select(KIND, HASH, *_NARROW)
        return marked.select(KIND).join(narrow, on=KIND, how="left", maintain_order="left")

    def _with(self, here: pl.DataFrame, rules: Sequence[pl.Expr]) -> pl.DataFrame | None:
        """All that is known, with these; None where that is too much."""
        new = here if self.known is None else here.join(self.known.select(KIND), on=KIND, how="anti")
        if new.height + (0 if self.known is None else self.known.height) > MOST_KINDS:
            return None
        if new.height or self.known is None:
            worked = _worked_out(new, rules)
            self.known = worked if self.known is None else pl.concat([self.known, worked])
        return self.known

    def _clashes(self, here: pl.DataFrame) -> bool:
        """Whether other facts of before have the hash of some of these."""
        if self.known is None:
            return False
        met = here.select(KIND, _AGAIN).join(self.known.select(KIND, _AGAIN), on=KIND, suffix="_before")
        return bool(met.filter(pl.col(_AGAIN) != pl.col(f"{_AGAIN}_before")).height)


def hash_of(columns: Sequence[str], family: int) -> pl.Expr:
    """Of these columns together; of this process alone. Families 0 and 1 are independent of each other."""
    return pl.sum_horizontal(pl.col(name).hash(2 * seed + family) for seed, name in enumerate(columns))


def _worked_out(kinds: pl.DataFrame, rules: Sequence[pl.Expr]) -> pl.DataFrame:
    texts = [name for name in FACTS if name not in {"correction", "tags"}]
    facts = kinds.select(KIND, _AGAIN, *rules).with_columns(
        pl.col(texts).fill_null(""), pl.col("tags").fill_null("{}"), pl.col("correction").fill_null(value=False)
    )
    digests = [_digest("\x1f".join(map(str, row))) for row in facts.select(FACTS).iter_rows()]
    whole = pl.col("tags").str.starts_with("{") & pl.col("tags").str.ends_with("}")
    return facts.with_columns(
        pl.when(whole).then("tags").otherwise(columns_as_json({"tags": pl.col("tags")})),
        pl.Series(HASH, digests, dtype=pl.UInt64),
        instance_id=instance_id(pl.col("resource_id")),
        stack_layer=stack_layer(pl.col("service"), pl.col("service_category")),
    )


def _digest(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")
