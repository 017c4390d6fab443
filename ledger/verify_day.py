"""The laws that are asked of one day's rows."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date

import polars as pl

from ledger import verify_law as law
from ledger import verify_money as money
from ledger import verify_time as clock
from ledger.carbon_again import grams_again
from ledger.reconcile import reconcile
from ledger.remake import GROUP, NODE_HOUR, expected_lines, line_sums, list_again
from ledger.rolldays import AMOUNTS
from ledger.tables import COST, NODE_HOURS, PROFILE, TIME, USAGE, WORK, Table
from ledger.verify_books import Books, Day
from ledger.verify_law import Break, broken

_BY_HOUR = (USAGE, NODE_HOURS, COST, PROFILE, WORK)
_NOT_BELOW_ZERO: Mapping[str, tuple[str, ...]] = {
    USAGE.name: ("gpu_ns", "energy_mj", "memory_mib_s", "requested_ns"),
    NODE_HOURS.name: ("existed_ns", "gpu_count", "vcpus", "memory_mib"),
    COST.name: ("list_nano_usd", "carbon_ug", "embodied_ug"),
    PROFILE.name: ("weighted", "ns", "peak", "total"),
    WORK.name: ("amount", "sum_ns"),
}


def day_breaks(books: Books, part: Day) -> Iterator[Break]:
    """Every law that is broken in a cut of a day, in the order of :data:`ledger.verify_law.LAWS`."""
    for table in _BY_HOUR:
        yield from _key_laws(books, part, table)
    on_nodes = part.usage.height + part.node_hours.height > 0
    found = list(_time_laws(part)) if on_nodes else []
    if on_nodes or part.cost.height or part.lines.height:
        found += _cost_laws(books, part)
    yield from found
    if on_nodes and not part.rolled:
        yield from _share_law(books, part, found)


def place_breaks(books: Books, day: date) -> Iterator[Break]:
    """Rows of the day's partitions that are no rows of its hours."""
    for table in _BY_HOUR:
        rows = books.rows_of_day(table, day).select("day", "hour_utc", *(("node",) if "node" in table.schema else ()))
        if rows.select(clock.is_misplaced().any()).collect(engine="streaming").item():
            yield from broken(law.HOURS, clock.misplaced(table, rows))


def _key_laws(books: Books, part: Day, table: Table) -> Iterator[Break]:
    key, amounts = _key(books, part, table), _NOT_BELOW_ZERO[table.name]
    names = list(dict.fromkeys(("day", "hour_utc", *key, *amounts)))
    rows = books.rows_of_day(table, part.day).filter(part.within).select(names)
    below = pl.any_horizontal(pl.lit(value=False), *((pl.col(name) < 0).any() for name in amounts))
    flags = rows.select(twice=pl.struct(key).n_unique() < pl.len(), below=below.fill_null(value=False))
    twice, is_below = flags.collect(engine="streaming").row(0)
    if twice:
        yield from broken(law.KEYS, clock.twice(table, rows, key))
    if is_below:
        yield from broken(law.SIGNS, clock.below_zero(table, rows, amounts))


def _key(books: Books, part: Day, table: Table) -> Sequence[str]:
    """What stands once; once hours became a day that is all but the amounts."""
    if table.name in AMOUNTS and books.has_days(table, part.day):
        return [name for name in table.schema if name not in AMOUNTS[table.name]]
    return table.key


def _time_laws(part: Day) -> Iterator[Break]:
    usage, node_hours = part.usage.lazy(), part.node_hours.lazy()
    yield from broken(law.REGISTER, clock.without_register(usage, node_hours, by_day=part.usage_rolled))
    if part.usage_rolled:
        yield from broken(law.TIME, clock.day_times(usage, node_hours))
        return
    yield from broken(law.DEVICES, clock.device_counts(usage, node_hours))
    yield from broken(law.TIME, clock.device_times(usage, node_hours))


def _cost_laws(books: Books, part: Day) -> Iterator[Break]:
    prices = books.prices.lazy()
    usage, node_hours, cost = (_made(frame, part).lazy() for frame in (part.usage, part.node_hours, part.cost))
    if part.rolled:
        yield from broken(law.ORPHANS, money.without_usage(_by_day(cost), _by_day(usage)))
    else:
        yield from broken(law.PRICED, money.without_price(cost, prices))
        yield from broken(law.ORPHANS, money.without_usage(cost, usage))
        yield from broken(law.LIST, money.list_totals(cost, usage, node_hours, prices))
    if not part.hours:
        return
    lines = expected_lines(part.hours, part.lines.lazy(), part.existed.lazy())
    borne = line_sums(cost)
    if part.rolled:
        lines, borne = _summed(_by_day(lines)), _summed(_by_day(borne))
    yield from broken(law.LINES, money.line_totals(borne, lines))


def _share_law(books: Books, part: Day, found: Sequence[Break]) -> Iterator[Break]:
    """Row by row, but for node-hours that break a law already: their rows cannot be right."""
    told = {(each.hour, each.node) for each in found}
    named = pl.DataFrame(sorted(told, key=str), schema={"hour_utc": TIME, "node": pl.String}, orient="row")
    usage, node_hours, cost = (
        _made(frame, part).join(named, on=["hour_utc", "node"], how="anti")
        for frame in (part.usage, part.node_hours, part.cost)
    )
    listed = list_again(usage, node_hours, cost, books.prices)
    made = reconcile(listed.lazy(), part.lines.lazy(), part.existed.lazy(), part.hours)
    others = made.join(named.lazy(), on=["hour_utc", "node"], how="anti")
    yield from broken(law.SHARES, money.shares(cost.lazy(), others))
    if cost["carbon_ug"].null_count() < cost.height:
        yield from broken(law.GRAMS, money.grams(cost.lazy(), grams_again(usage, cost).lazy()))


def _made(frame: pl.DataFrame, part: Day) -> pl.DataFrame:
    """Rows of hours whose cost is made; of a day that was rolled all."""
    if part.rolled:
        return frame
    return frame.filter(pl.col("hour_utc").is_in(pl.Series(part.hours, dtype=TIME).implode()))


def _by_day(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.with_columns(pl.col("hour_utc").dt.truncate("1d"))


def _summed(sums: pl.LazyFrame) -> pl.LazyFrame:
    return sums.group_by(*NODE_HOUR, *GROUP).agg(pl.col("effective_nano_usd").sum())
