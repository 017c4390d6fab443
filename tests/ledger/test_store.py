"""What the store promises of rows: replaced by predicate, in one commit, in the table's own columns."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.store import Store
from ledger.store_errors import StoreError
from ledger.tables import ALL, NODE_HOURS, PROFILE, empty
from tests.ledger import duck
from tests.ledger.store_rig import HOUR_5, HOUR_6, hours, read


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "ledger"))


def test_a_table_that_is_not_there_yet_is_empty_and_has_no_version(store):
    assert store.version(NODE_HOURS) is None
    assert store.scan(NODE_HOURS).collect().schema == NODE_HOURS.schema


def test_replacing_an_hour_leaves_the_others_and_other_nodes(store):
    store.append(NODE_HOURS, hours((HOUR_5, "a", 1), (HOUR_5, "b", 2), (HOUR_6, "a", 3)))
    store.replace(NODE_HOURS, hours((HOUR_5, "a", 9)), {"hour_utc": [HOUR_5], "node": ["a"]})
    assert read(store) == [(5, "a", 9), (5, "b", 2), (6, "a", 3)]


def test_a_former_version_can_be_read_again(store):
    first = store.append(NODE_HOURS, hours((HOUR_5, "a", 1)))
    assert store.replace(NODE_HOURS, hours((HOUR_5, "a", 9)), {"hour_utc": [HOUR_5]}) == first + 1
    assert read(store, first) == [(5, "a", 1)]


def test_a_frame_that_was_read_stays_as_it_was_read(store):
    store.append(NODE_HOURS, hours((HOUR_5, "a", 1)))
    before = store.scan(NODE_HOURS)
    store.replace(NODE_HOURS, hours((HOUR_5, "a", 9)), {})
    assert before.collect()["existed_ns"].to_list() == [1]


def test_a_version_that_never_was_is_refused_with_the_remedy(store):
    store.append(NODE_HOURS, hours((HOUR_5, "a", 1)))
    with pytest.raises(StoreError, match=r"cannot read node_hours at .*not kept any more, or never was.*history_days"):
        store.scan(NODE_HOURS, 77)


def test_replacing_by_nothing_takes_rows_away(store):
    store.append(NODE_HOURS, hours((HOUR_5, "a", 1), (HOUR_6, "a", 3)))
    store.replace(NODE_HOURS, hours().lazy(), {"day": [date(2026, 11, 1)], "hour_utc": [HOUR_5]})
    assert read(store) == [(6, "a", 3)]


def test_no_condition_replaces_the_whole_table(store):
    store.append(NODE_HOURS, hours((HOUR_5, "a", 1), (HOUR_6, "a", 3)))
    store.replace(NODE_HOURS, hours((HOUR_6, "b", 4)), {})
    assert read(store) == [(6, "b", 4)]


def test_a_row_outside_of_what_it_replaces_is_refused_whole(store):
    store.append(NODE_HOURS, hours((HOUR_5, "a", 1)))
    with pytest.raises(StoreError, match="rows lie outside of what they were to replace"):
        store.replace(NODE_HOURS, hours((HOUR_5, "a", 2), (HOUR_6, "a", 3)), {"hour_utc": [HOUR_5]})
    assert read(store) == [(5, "a", 1)]


def test_rows_that_do_not_fit_their_type_change_nothing(store):
    store.append(NODE_HOURS, hours((HOUR_5, "a", 1)))
    wrong = hours((HOUR_6, "a", 3)).lazy().with_columns(existed_ns=pl.lit("an hour"))
    with pytest.raises(StoreError, match=r"a value does not fit its column, so nothing was written.*an hour"):
        store.append(NODE_HOURS, wrong)
    with pytest.raises(StoreError, match=r"a value does not fit its column, so nothing was written.*an hour"):
        store.append(NODE_HOURS, wrong.collect())
    assert read(store) == [(5, "a", 1)]


def test_a_frame_that_fails_half_way_changes_nothing(store):
    store.append(NODE_HOURS, hours((HOUR_5, "a", 1)))
    number = pl.int_range(0, 500_000, eager=True).alias("existed_ns")
    rows = number.to_frame().lazy().with_columns(day=date(2026, 11, 1), hour_utc=HOUR_6, node=pl.lit("a"))
    late = pl.when(pl.col("existed_ns") < 499_999).then(pl.col("existed_ns").cast(pl.String)).otherwise(pl.lit("x"))
    with pytest.raises(StoreError, match="a value does not fit its column"):
        store.append(NODE_HOURS, rows.with_columns(existed_ns=late))
    assert read(store) == [(5, "a", 1)]


def test_rewriting_sees_what_it_replaces_and_nothing_else(store):
    store.append(NODE_HOURS, hours((HOUR_5, "a", 1), (HOUR_5, "b", 2), (HOUR_6, "a", 3)))
    store.rewrite(NODE_HOURS, {"node": ["a"]}, lambda rows: rows.with_columns(pl.col("existed_ns") * 10))
    assert read(store) == [(5, "a", 10), (5, "b", 2), (6, "a", 30)]


def test_a_write_that_comes_between_is_not_lost_by_a_rewrite(store):
    store.append(NODE_HOURS, hours((HOUR_5, "a", 1)))
    others = iter([7])

    def change(rows):
        seen = rows.collect()
        for ns in others:
            store.append(NODE_HOURS, hours((HOUR_6, "b", ns)))
        return seen.with_columns(pl.col("existed_ns") + 100)

    store.rewrite(NODE_HOURS, {}, change)
    assert read(store) == [(5, "a", 101), (6, "b", 107)]


@pytest.mark.parametrize("table", ALL, ids=lambda table: table.name)
def test_every_table_of_the_contract_can_be_written_and_read(store, table):
    row = pl.DataFrame({name: [None] for name in table.schema})
    dated = {"month": date(2026, 11, 1), "day": date(2026, 11, 1)}
    row = row.with_columns(pl.lit(value).alias(name) for name, value in dated.items() if name in table.schema)
    store.append(table, row)
    assert store.scan(table).collect().equals(empty(table).vstack(row.cast(dict(table.schema))))


def test_thirty_eight_digits_come_back_whole(store):
    wide = 10**38 - 1
    row = pl.DataFrame({"day": [date(2026, 11, 1)], "hour_utc": [HOUR_5]}).with_columns(
        weighted=pl.lit(str(wide)).str.to_decimal(scale=0)
    )
    store.append(PROFILE, row)
    assert int(store.scan(PROFILE).collect()["weighted"][0]) == wide


def test_names_with_quotes_and_comments_replace_only_themselves(store):
    names = ["o'brien", "a' OR 'a'='a", "-- b", "x\\", 'd"q', "ü"]
    store.append(NODE_HOURS, hours(*((HOUR_5, name, 1) for name in names)))
    for name in names:
        store.replace(NODE_HOURS, hours((HOUR_5, name, 2)), {"hour_utc": [HOUR_5], "node": [name]})
    assert sorted(node for _, node, ns in read(store) if ns == 2) == sorted(names)
    assert len(read(store)) == len(names)


def test_a_thousand_nodes_are_replaced_in_one_commit(store):
    nodes = [f"ip-10-0-{n // 256}-{n % 256}" for n in range(1000)]
    store.append(NODE_HOURS, hours(*((HOUR_5, node, 1) for node in nodes), (HOUR_5, "other", 1)))
    rows = hours(*((HOUR_5, node, 2) for node in nodes))
    store.replace(NODE_HOURS, rows, {"hour_utc": [HOUR_5], "node": nodes})
    assert store.scan(NODE_HOURS).select(pl.col("existed_ns").sum()).collect().item() == 2001


def test_what_cannot_be_a_condition_is_refused_before_anything_is_written(store):
    with pytest.raises(ValueError, match="node_hours has no column 'nodes': it has day, hour_utc"):
        store.replace(NODE_HOURS, hours(), {"nodes": ["a"]})
    with pytest.raises(ValueError, match=r"no value of node_hours\.node is given"):
        store.replace(NODE_HOURS, hours(), {"node": []})
    with pytest.raises(ValueError, match=r"a time to replace in node_hours\.hour_utc has no zone"):
        store.replace(NODE_HOURS, hours(), {"hour_utc": [HOUR_5.replace(tzinfo=None)]})
    assert store.version(NODE_HOURS) is None


def test_another_zone_names_the_same_hour_and_its_utc_day(store):
    store.append(NODE_HOURS, hours((HOUR_5, "a", 1), (HOUR_6, "a", 2)))
    store.replace(NODE_HOURS, hours(), {"hour_utc": [HOUR_5.astimezone(ZoneInfo("America/Los_Angeles"))]})
    assert read(store) == [(6, "a", 2)]


def test_files_are_of_one_hour_so_that_replacing_it_leaves_the_others_alone(store):
    for hour in range(6):
        at = datetime(2026, 11, 1, hour, tzinfo=UTC)
        store.replace(NODE_HOURS, hours((at, "a", 1), (at, "b", 1)), {"hour_utc": [at]})
    before = set(store.place.open(NODE_HOURS).file_uris())
    store.replace(NODE_HOURS, hours((HOUR_5, "a", 9)), {"hour_utc": [HOUR_5], "node": ["a"]})
    after = set(store.place.open(NODE_HOURS).file_uris())
    assert len(before) == 6
    assert len(before & after) == 5


def test_a_scan_of_one_hour_reads_only_its_files(store):
    for hour in range(6):
        at = datetime(2026, 11, 1, hour, tzinfo=UTC)
        store.replace(NODE_HOURS, hours((at, "a", hour)), {"hour_utc": [at]})
    for path in map(Path, store.place.open(NODE_HOURS).file_uris()):
        if pl.read_parquet(path, hive_partitioning=False)["hour_utc"][0] != HOUR_5:
            path.write_bytes(b"")
    wanted = store.scan(NODE_HOURS).filter(pl.col("hour_utc") == HOUR_5).select("existed_ns").collect()
    assert wanted["existed_ns"].to_list() == [5]


def test_duckdb_sums_the_files_to_the_same(store):
    rows = [(HOUR_5 + timedelta(hours=h), f"n{n}", 2**61 + 7 * h + n) for h in range(30) for n in range(7)]
    store.append(NODE_HOURS, hours(*rows[:100]))
    store.replace(NODE_HOURS, hours(*(row for row in rows if row[1] == "n3")), {"node": ["n3"]})
    ours = store.scan(NODE_HOURS).group_by("node").agg(pl.col("existed_ns").cast(pl.Int128).sum()).collect()
    assert duck.sums(store.place.uri(NODE_HOURS), ["existed_ns"], ["node"]) == {
        (node,): (total,) for node, total in ours.rows()
    }


def test_what_cannot_be_read_is_an_error_and_never_an_empty_ledger(tmp_path):
    (tmp_path / "node_hours").write_text("in the way")
    with pytest.raises(StoreError, match=r"cannot read node_hours at .*/node_hours: something that is no directory"):
        Store(str(tmp_path)).scan(NODE_HOURS)


writes = st.lists(
    st.tuples(
        st.sets(st.integers(0, 3), min_size=1),
        st.sets(st.sampled_from("abc"), min_size=1),
        st.integers(0, 2**62),
    ),
    max_size=5,
)


@settings(max_examples=10)
@given(writes)
def test_replacing_does_what_a_dictionary_does(steps):
    expected = {}
    with TemporaryDirectory() as folder:
        store = Store(folder)
        for at, nodes, ns in steps:
            keys = [(HOUR_5 + timedelta(hours=20 * hour), node) for hour in at for node in nodes]
            rows = {key: ns + place for place, key in enumerate(keys) if place % 3 != 2}
            store.replace(
                NODE_HOURS,
                hours(*((*key, value) for key, value in rows.items())),
                {"hour_utc": sorted({hour for hour, _ in keys}), "node": sorted(nodes)},
            )
            expected = {key: value for key, value in expected.items() if key not in keys} | rows
        found = store.scan(NODE_HOURS).select("hour_utc", "node", "existed_ns").collect()
    assert sorted(found.rows()) == sorted((*key, value) for key, value in expected.items())
