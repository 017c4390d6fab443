from datetime import UTC, date, datetime

import polars as pl
import pytest

from collectors.bill_refused import BillRefused
from ledger.bill_times import read_times

AT = datetime(2024, 9, 18, 23, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2024-09-18T23:00:00Z",
        "2024-09-18 23:00:00",
        "2024-09-18T23:00:00.000Z",
        "2024-09-18 23:00:00.000000000",
        "2024-09-18 23:00:00+00:00",
        "2024-09-18T23:00:00+0000",
        "2024-09-18 23:00:00 UTC",
        "2024-09-18T23:00Z",
        " 2024-09-18T23:00:00-00:00 ",
    ],
)
def test_utc_in_all_its_spellings_is_one_time(text):
    assert read_times(pl.Series([text])).to_list() == [AT]


@pytest.mark.parametrize("text", ["2024-09-18T23:00:00+02:00", "2024-09-18 23:00:00-0700", "2024-09-18T23:00:00+01"])
def test_another_zone_is_refused(text):
    with pytest.raises(BillRefused, match="is of another time zone; export times in UTC"):
        read_times(pl.Series([text]))


@pytest.mark.parametrize("text", ["4/1/25", "2023-02-01T30:00:00Z", "2023-02-30", "now", "1726700400", "٢٠٢٤-٠٩-١٨"])
def test_what_is_no_time_is_refused_by_name(text):
    with pytest.raises(BillRefused) as refused:
        read_times(pl.Series([text]))
    assert str(refused.value).startswith(f"{text!r} is no time")


def test_a_day_is_its_midnight_and_nothing_is_nothing():
    assert read_times(pl.Series(["2024-09-18", None])).to_list() == [AT.replace(hour=0), None]


def test_fractions_are_kept_to_the_microsecond():
    assert read_times(pl.Series(["2024-09-18T23:00:00.1234567Z"])).to_list() == [AT.replace(microsecond=123456)]


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([AT.replace(tzinfo=None)], dtype=pl.Datetime("ns")),
        pl.Series([AT.replace(tzinfo=None)], dtype=pl.Datetime("ms")),
        pl.Series([AT], dtype=pl.Datetime("us", "UTC")),
    ],
    ids=lambda column: str(column.dtype),
)
def test_timestamps_of_parquet_are_utc(column):
    assert read_times(column).to_list() == [AT]


def test_timestamps_in_another_zone_are_refused():
    with pytest.raises(BillRefused, match="timestamps in Europe/Berlin, not UTC"):
        read_times(pl.Series([AT], dtype=pl.Datetime("us", "Europe/Berlin")))


def test_dates_of_parquet_are_midnight():
    assert read_times(pl.Series([date(2024, 9, 18)])).to_list() == [AT.replace(hour=0)]


def test_a_source_may_say_how_its_times_are_written():
    assert read_times(pl.Series(["4/1/25"]), "%m/%d/%y").to_list() == [datetime(2025, 4, 1, tzinfo=UTC)]
    with pytest.raises(BillRefused, match="'2025-04-01' is not written as %m/%d/%y"):
        read_times(pl.Series(["2025-04-01"]), "%m/%d/%y")
    with pytest.raises(BillRefused, match="is of another time zone"):
        read_times(pl.Series(["2025-04-01 +0200"]), "%Y-%m-%d %z")
