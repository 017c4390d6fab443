"""Hours that become days: the same sums to the unit, and only once no bill can correct them."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.rolldays import NotClosed, closed_before, roll_days, roll_into_days
from ledger.store import Store
from ledger.store_errors import StoreError
from ledger.tables import BILLS, COST, NODE_HOURS, USAGE, conform
from tests.ledger import duck

DAY = datetime(2026, 3, 2, tzinfo=UTC)
CLOSED = date(2026, 3, 4)


def usage(*rows):
    """Rows of (hour of DAY, team, gpu_ns, energy_mj)."""
    frame = pl.DataFrame(
        {
            "hour_utc": [DAY + timedelta(hours=hour) for hour, *_ in rows],
            "node": ["n"] * len(rows),
            "team": [team for _, team, *_ in rows],
            "gpu_ns": [ns for *_, ns, _ in rows],
            "energy_mj": [mj for *_, mj in rows],
        },
        schema_overrides={"hour_utc": USAGE.schema["hour_utc"], "gpu_ns": pl.Int64, "energy_mj": pl.Int64},
    )
    return conform(USAGE, frame.lazy().with_columns(day=pl.col("hour_utc").dt.date()))


def rolled(rows):
    frame = roll_into_days(USAGE, rows, closed=CLOSED).collect().sort("hour_utc", "team")
    return frame.select("hour_utc", "team", "gpu_ns", "energy_mj").rows()


def test_hours_of_a_day_become_one_row_at_its_start():
    assert rolled(usage((0, "a", 1, 10), (5, "a", 2, 20), (23, "a", 3, 30), (24, "a", 4, 40))) == [
        (DAY, "a", 6, 60),
        (DAY + timedelta(days=1), "a", 4, 40),
    ]


def test_a_team_that_changed_at_noon_has_two_rows():
    assert rolled(usage((11, "a", 1, 10), (12, "b", 2, 20))) == [(DAY, "a", 1, 10), (DAY, "b", 2, 20)]


def test_what_no_hour_knew_stays_unknown_and_what_one_knew_is_summed():
    assert rolled(usage((1, "a", 1, None), (2, "a", 2, None), (1, "b", 3, None), (2, "b", 4, 0))) == [
        (DAY, "a", 3, None),
        (DAY, "b", 7, 0),
    ]


def test_rolling_a_day_again_changes_nothing():
    once = roll_into_days(USAGE, usage((1, "a", 1, 10), (2, "a", 2, 20)), closed=CLOSED)
    assert roll_into_days(USAGE, once, closed=CLOSED).collect().equals(once.collect())


def test_a_day_that_is_not_closed_is_refused():
    with pytest.raises(NotClosed, match="usage of 2026-03-04 keeps its hours: only days before 2026-03-04 are closed"):
        rolled(usage((1, "a", 1, 1), (48, "a", 1, 1)))


def test_a_sum_beyond_64_bits_is_refused_and_not_wrapped():
    with pytest.raises(pl.exceptions.InvalidOperationError):
        rolled(usage((1, "a", 2**63 - 1, 1), (2, "a", 1, 1)))


def test_only_what_has_amounts_is_rolled():
    with pytest.raises(ValueError, match="node_hours is not rolled into days: only usage, cost are"):
        roll_into_days(NODE_HOURS, pl.LazyFrame(schema=NODE_HOURS.schema), closed=CLOSED)


@pytest.mark.parametrize("table", [USAGE, COST], ids=lambda table: table.name)
def test_every_number_of_a_rolled_table_is_an_amount(table):
    numbers = [name for name, dtype in table.schema.items() if dtype.is_numeric()]
    hours = pl.LazyFrame({name: [7, 8] for name in numbers}).with_columns(
        hour_utc=pl.Series([DAY, DAY + timedelta(hours=1)]), day=DAY.date()
    )
    summed = roll_into_days(table, conform(table, hours), closed=CLOSED).select(numbers).collect()
    assert summed.rows() == [(15,) * len(numbers)]


amounts = st.one_of(st.none(), st.integers(-(2**57), 2**57))


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 47), st.sampled_from("abc"), st.integers(0, 2**57), amounts), max_size=30))
def test_sums_by_day_and_team_are_those_of_pythons_integers(rows):
    expected = {}
    for hour, team, ns, mj in rows:
        have = expected.get((hour // 24, team), (0, None))
        expected[hour // 24, team] = (have[0] + ns, have[1] if mj is None else (have[1] or 0) + mj)
    assert rolled(usage(*rows)) == [
        (DAY + timedelta(days=day), team, *sums) for (day, team), sums in sorted(expected.items())
    ]


@pytest.fixture
def store(tmp_path):
    made = Store(str(tmp_path), tables=[USAGE])
    made.append(USAGE, usage((0, "a", 1, 10), (5, "a", 2, 20), (30, "a", 3, 30), (47, "b", 4, None), (49, "a", 5, 50)))
    return made


def test_the_store_rolls_closed_days_and_leaves_the_others(store):
    before = duck.sums(store.place.uri(USAGE), ["gpu_ns"], ["day", "team"])
    assert roll_days(store, USAGE, closed=CLOSED) == 2
    rows = store.scan(USAGE).sort("hour_utc", "team").select("hour_utc", "gpu_ns").collect().rows()
    assert rows == [
        (DAY, 3),
        (DAY + timedelta(days=1), 3),
        (DAY + timedelta(days=1), 4),
        (DAY + timedelta(hours=49), 5),
    ]
    assert duck.sums(store.place.uri(USAGE), ["gpu_ns"], ["day", "team"]) == before
    assert store.rolled_before(USAGE) == CLOSED
    assert roll_days(store, USAGE, closed=CLOSED) == 0


def test_an_hour_of_a_rolled_day_cannot_be_booked_beside_its_day(store):
    roll_days(store, USAGE, closed=CLOSED)
    version = store.version(USAGE)
    late = usage((5, "a", 9, 9))
    for where in ({"hour_utc": [DAY + timedelta(hours=5)]}, {"day": [DAY.date()]}):
        with pytest.raises(StoreError, match=r"usage of 2026-03-02 was rolled into days \(all before 2026-03-04 are\)"):
            store.replace(USAGE, late, where)
    assert store.version(USAGE) == version
    store.replace(USAGE, usage((49, "a", 9, 9)), {"hour_utc": [DAY + timedelta(hours=49)]})


def test_the_former_hours_can_still_be_read(store):
    version = store.version(USAGE)
    roll_days(store, USAGE, closed=CLOSED)
    assert store.scan(USAGE, version).collect().height == 5
    assert Store(store.place.root).rolled_before(COST) is None


def bills(*rows):
    """Rows of (month, export, complete, state, read_at)."""
    names = ("month", "export", "complete", "state", "read_at")
    return pl.DataFrame(dict(zip(names, zip(*rows, strict=True), strict=True)))


def read_on(month, day):
    return datetime(2026, month, day, tzinfo=UTC)


JANUARY, FEBRUARY, MARCH = (date(2026, month, 1) for month in (1, 2, 3))


def test_days_close_ninety_days_after_the_last_bill_of_their_month():
    booked = bills(
        (JANUARY, "x", True, "booked", read_on(2, 5)),
        (JANUARY, "y", True, "booked", read_on(2, 9)),
        (FEBRUARY, "x", True, "booked", read_on(3, 5)),
    )
    next_day = timedelta(days=1)
    for now, first_open in ((read_on(5, 9), None), (read_on(5, 10), FEBRUARY), (read_on(6, 3), MARCH)):
        assert closed_before(booked, now=now, after_days=90, closed_after=next_day) == first_open


@pytest.mark.parametrize(
    "last",
    [(JANUARY, "x", False, "booked"), (JANUARY, "x", None, "booked"), (JANUARY, "x", True, "refused")],
    ids=["not complete", "not known", "refused"],
)
def test_a_month_whose_last_delivery_is_not_whole_stays_open(last):
    booked = bills((JANUARY, "x", True, "booked", read_on(2, 5)), (*last, read_on(2, 6)))
    assert closed_before(booked, now=read_on(12, 1), after_days=90) is None


def test_days_wait_from_the_close_of_a_bill_that_was_read_before_it():
    early = bills((JANUARY, "x", True, "booked", read_on(1, 5)))
    for now, first_open in ((read_on(4, 6), None), (read_on(5, 16), None), (read_on(5, 17), FEBRUARY)):
        assert closed_before(early, now=now, after_days=90, closed_after=timedelta(days=15)) == first_open


LATER = datetime(2030, 1, 1, tzinfo=UTC)
MENDED = (JANUARY, "x", True, "booked", read_on(2, 6))


@pytest.mark.parametrize(
    "former",
    [
        pytest.param((None, "x", False, "replaced", read_on(2, 5)), id="a file that was refused, then mended"),
        pytest.param((None, "x", False, "refused", read_on(2, 5)), id="a refusal that was never called replaced"),
        pytest.param((JANUARY, "ce", True, "replaced", read_on(2, 5)), id="Cost Explorer, before the export came"),
        pytest.param((date(2025, 12, 1), "x", False, "replaced", read_on(2, 5)), id="a month that its file lost"),
    ],
)
def test_what_was_replaced_holds_no_month_open(former):
    assert closed_before(bills(former, MENDED), now=LATER, after_days=90) == FEBRUARY


def test_a_refusal_of_a_month_that_nobody_knows_holds_all_for_as_long_as_corrections_are_awaited():
    refused = bills(MENDED, (None, "y", False, "refused", read_on(7, 1)))
    for now, first_open in ((read_on(9, 28), None), (read_on(9, 29), FEBRUARY)):
        assert closed_before(refused, now=now, after_days=90) == first_open


def test_a_month_waits_for_the_months_before_it():
    gap = bills(
        (JANUARY, "x", True, "booked", read_on(2, 5)),
        (MARCH, "x", True, "booked", read_on(4, 5)),
    )
    assert closed_before(gap, now=read_on(12, 1), after_days=90) == FEBRUARY
    assert closed_before(pl.DataFrame(schema=BILLS.schema), now=read_on(12, 1), after_days=90) is None
