"""What polars writes reads as what was given: by us, by Delta's own reader, by DuckDB."""

from datetime import date, timedelta

import polars as pl
import pytest

from ledger.store import Store
from ledger.store_delta import overwrite
from ledger.tables import NODE_HOURS, conform
from tests.ledger import duck
from tests.ledger.store_rig import HOUR_5, HOUR_6, hours, read

MANY = 10_000


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path), tables=[NODE_HOURS])


def table_of(store):
    return store.place.open(NODE_HOURS)


def long():
    """Text columns of every kind: constant, in runs, with gaps, dense, never known."""
    at = pl.int_range(MANY)
    frame = pl.select(
        hour_utc=HOUR_5 + pl.duration(hours=at // (MANY // 2)),
        node=pl.format("n{}", at % 997),
        cluster=pl.lit("eu"),
        zone=pl.when(at % 2000 >= 1000).then(pl.format("z{}", at // 1000)),
        region=pl.format("r{}", at // 50),
        digest=pl.format("d{}", at),
        source=pl.when(at > MANY - 3).then(pl.lit("late")),
        existed_ns=at,
    )
    return conform(NODE_HOURS, frame.lazy().with_columns(day=pl.col("hour_utc").dt.date())).collect()


def coded():
    """The same rows, not held whole, with what is told by runs or by one value as numbers."""
    rows = long()
    told = {name: pl.Enum(rows[name].drop_nulls().unique()) for name in ("cluster", "zone", "region", "source")}
    return rows.lazy().with_columns(pl.col(name).cast(dtype) for name, dtype in told.items())


def test_text_reads_as_the_same_text_in_the_same_order_however_it_was_encoded(store):
    store.append(NODE_HOURS, long())
    assert store.scan(NODE_HOURS).collect().equals(long())


def test_rows_that_are_never_held_whole_read_as_the_same_in_the_same_order(store):
    store.append(NODE_HOURS, coded())
    assert store.scan(NODE_HOURS).collect().equals(long())
    assert store.scan(NODE_HOURS).collect_schema() == NODE_HOURS.schema


@pytest.mark.parametrize("rows", [long, coded])
def test_a_file_says_text_and_not_dictionary_to_every_reader(store, rows):
    store.append(NODE_HOURS, rows())
    (file,) = table_of(store).file_uris()
    schema = pl.read_parquet_schema(file)
    assert {name: schema[name] for name in schema} == {
        name: dtype for name, dtype in NODE_HOURS.schema.items() if name != "day"
    }
    text = "SELECT typeof(region), count(DISTINCT region), count(zone), sum(existed_ns) FROM t GROUP BY 1"
    assert duck.query(store.place.uri(NODE_HOURS), text) == [("VARCHAR", 200, MANY // 2, sum(range(MANY)))]


def test_delta_replaces_some_rows_of_a_file_that_polars_wrote(store):
    store.append(NODE_HOURS, long())
    store.replace(NODE_HOURS, hours((HOUR_5, "n3", 1)), {"hour_utc": [HOUR_5], "node": ["n3"]})
    rest = long().filter(~((pl.col("hour_utc") == HOUR_5) & (pl.col("node") == "n3")))
    kept = store.scan(NODE_HOURS).filter(pl.col("digest").is_not_null()).sort("existed_ns").collect()
    assert kept.equals(rest)
    assert store.scan(NODE_HOURS).filter(pl.col("digest").is_null()).select("existed_ns").collect().item() == 1


@pytest.mark.parametrize("form", [pl.DataFrame, pl.DataFrame.lazy])
def test_days_in_any_order_become_one_file_each_and_keep_their_rows_order(store, form):
    rows = [(HOUR_5 + timedelta(days=at % 3), f"n{9 - at}", at) for at in range(9)]
    store.append(NODE_HOURS, form(hours(*rows)))
    assert len(table_of(store).file_uris()) == 3
    second = store.scan(NODE_HOURS).filter(pl.col("day") == date(2026, 11, 2)).collect()
    assert second["existed_ns"].to_list() == [1, 4, 7]


def test_a_replacement_of_whole_files_leaves_those_that_share_no_row_and_the_version_before(store):
    before = store.append(NODE_HOURS, hours((HOUR_5, "a", 1), (HOUR_5, "b", 2)))
    store.append(NODE_HOURS, hours((HOUR_6, "a", 3)))
    version = store.replace(NODE_HOURS, hours((HOUR_5, "a", 9)), {"hour_utc": [HOUR_5]})
    assert version == before + 2
    assert read(store) == [(5, "a", 9), (6, "a", 3)]
    assert read(store, before) == [(5, "a", 1), (5, "b", 2)]


@pytest.mark.parametrize("form", [pl.DataFrame, pl.DataFrame.lazy])
@pytest.mark.parametrize(
    ("where", "told"), [({"hour_utc": [HOUR_5]}, "2026-11-01T05:00:00Z"), ({"day": [date(2026, 11, 2)]}, "2026-11-02")]
)
def test_rows_outside_of_what_they_replace_are_refused_and_leave_no_file(store, tmp_path, form, where, told):
    store.append(NODE_HOURS, hours((HOUR_5, "a", 1)))
    with pytest.raises(Exception, match=rf"rows lie outside of what they were to replace.*{told}"):
        store.replace(NODE_HOURS, form(hours((HOUR_6, "a", 1))), where)
    assert len(list((tmp_path / "node_hours").rglob("*.parquet"))) == 1
    assert read(store) == [(5, "a", 1)]


@pytest.mark.parametrize("form", [pl.DataFrame, pl.DataFrame.lazy])
def test_a_write_that_fails_takes_its_files_away(store, tmp_path, form):
    store.append(NODE_HOURS, hours((HOUR_5, "a", 1)))
    (tmp_path / "node_hours" / "day=2026-11-09").write_text("in the way")
    rows = hours((HOUR_6, "a", 1), (HOUR_6 + timedelta(days=8), "a", 1))
    with pytest.raises(Exception, match="cannot write node_hours"):
        store.append(NODE_HOURS, form(rows))
    assert len(list((tmp_path / "node_hours" / "day=2026-11-01").iterdir())) == 1
    assert read(store) == [(5, "a", 1)]


def test_a_writer_that_was_overtaken_begins_again_upon_what_came_between(store):
    store.append(NODE_HOURS, hours((HOUR_5, "a", 1)))
    between = [hours((HOUR_6, "a", 2)), hours((HOUR_6, "b", 3))]

    def write(handle, commit):
        if between:
            store.append(NODE_HOURS, between.pop())
        overwrite(NODE_HOURS, handle, hours((HOUR_5, "a", 9)), commit, {"node": ["a"]})

    store.commit(NODE_HOURS, write)
    assert between == []
    assert read(store) == [(5, "a", 9), (6, "b", 3)]


@pytest.mark.parametrize("rows", [long, coded])
def test_the_log_bounds_hours_and_nodes_of_each_file(store, rows):
    store.append(NODE_HOURS, rows())
    told = pl.DataFrame(table_of(store).get_add_actions(flatten=True)).row(0, named=True)
    assert (told["num_records"], told["min.hour_utc"], told["max.hour_utc"]) == (MANY, HOUR_5, HOUR_6)
    assert (told["min.node"], told["max.node"], told["null_count.node"]) == ("n0", "n996", 0)
