from datetime import UTC, datetime, timedelta

import polars as pl

from collectors.aws_prices import InstanceShape, OnDemandPrice, SpotChange
from ledger.price_live import in_force, merge_on_demand, merge_spot, shape_rows, spot_since
from ledger.tables import INSTANCE_TYPES, ON_DEMAND_PRICES, SPOT_PRICES, empty

P5 = "p5.48xlarge"
HOUR = timedelta(hours=1)


def at(day, hour=0, minute=0):
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


def spot(nano, when, zone="us-east-1a"):
    return SpotChange("us-east-1", zone, P5, nano, when)


def listed(nano, since):
    return OnDemandPrice("us-east-1", P5, nano, since)


def node_hours(*hours, zone="us-east-1a"):
    place = {"provider": "aws", "region": "us-east-1", "zone": zone, "instance_type": P5}
    return pl.LazyFrame(
        [place | {"hour_utc": hour} for hour in hours], schema_overrides={"hour_utc": pl.Datetime("us", "UTC")}
    )


def in_force_at(prices, *hours, **place):
    found = in_force(node_hours(*hours, **place), prices.lazy()).collect()
    return found.sort("hour_utc").get_column("live_nano").to_list()


def test_a_spot_price_is_carried_forward_until_the_next_change():
    known = merge_spot(empty(SPOT_PRICES), [spot(30, at(1)), spot(29, at(3, 9, 30))], at(4))
    assert in_force_at(known, at(1), at(2), at(3, 9), at(3, 10), at(9)) == [30, 30, 30, 29, 29]


def test_a_change_within_an_hour_counts_from_the_next_hour_on():
    known = merge_spot(empty(SPOT_PRICES), [spot(30, at(1)), spot(29, at(3, 9, 30)), spot(28, at(3, 10))], at(4))
    assert in_force_at(known, at(3, 9), at(3, 10)) == [30, 28]


def test_before_the_first_known_price_and_in_another_zone_there_is_none():
    known = merge_spot(empty(SPOT_PRICES), [spot(30, at(2))], at(4))
    assert in_force_at(known, at(1), at(2)) == [None, 30]
    assert in_force_at(known, at(3), zone="us-east-1b") == [None]
    assert in_force_at(known, at(3), zone="") == [None]


def test_reading_the_same_history_again_changes_only_how_far_it_reaches():
    once = merge_spot(empty(SPOT_PRICES), [spot(30, at(1)), spot(29, at(3))], at(4))
    again = merge_spot(once, [spot(29, at(3))], at(5))
    assert again.drop("read_through").equals(once.drop("read_through"))
    assert again.get_column("read_through").to_list() == [at(5), at(5)]


def test_a_price_that_was_booked_is_not_rewritten_by_a_later_reading():
    once = merge_spot(empty(SPOT_PRICES), [spot(30, at(1))], at(4))
    again = merge_spot(once, [spot(31, at(1))], at(5))
    assert again.get_column("nano_usd_per_hour").to_list() == [30]


def test_a_zone_that_was_not_read_does_not_reach_further():
    once = merge_spot(empty(SPOT_PRICES), [spot(30, at(1)), spot(31, at(1), "us-east-1b")], at(4))
    again = merge_spot(once, [spot(30, at(1))], at(5))
    assert dict(again.select("zone", "read_through").iter_rows()) == {"us-east-1a": at(5), "us-east-1b": at(4)}


def test_nothing_is_forgotten_after_90_days():
    old = merge_spot(empty(SPOT_PRICES), [spot(30, at(1) - timedelta(days=400))], at(1) - timedelta(days=399))
    assert in_force_at(merge_spot(old, [spot(20, at(2))], at(3)), at(1) - timedelta(days=200), at(2)) == [30, 20]


def test_the_history_is_read_from_where_the_oldest_series_ends():
    known = merge_spot(empty(SPOT_PRICES), [spot(30, at(1)), spot(31, at(1), "us-east-1b")], at(4))
    known = merge_spot(known, [spot(30, at(1))], at(5))
    assert spot_since(known, "us-east-1", [P5], at(6)) == at(4) - 2 * HOUR


def test_a_type_that_was_never_read_is_read_as_far_back_as_the_cloud_knows():
    known = merge_spot(empty(SPOT_PRICES), [spot(30, at(1))], at(5))
    assert spot_since(known, "us-east-1", [P5, "g6.xlarge"], at(6)) == at(6) - timedelta(days=90)
    assert spot_since(known, "eu-west-1", [P5], at(6)) == at(6) - timedelta(days=90)


def test_a_list_price_holds_from_the_lists_own_date():
    known = merge_on_demand(empty(ON_DEMAND_PRICES), [listed(55, at(1))], at(4))
    assert known.select("since", "nano_usd_per_hour", "read_through").rows() == [(at(1), 55, at(4))]


def test_a_list_price_read_again_reaches_further():
    known = merge_on_demand(empty(ON_DEMAND_PRICES), [listed(55, at(1))], at(4))
    known = merge_on_demand(known, [listed(55, at(1))], at(9))
    assert known.select("since", "nano_usd_per_hour", "read_through").rows() == [(at(1), 55, at(9))]


def test_a_new_list_price_holds_from_its_date_or_from_when_the_former_was_last_seen():
    first = merge_on_demand(empty(ON_DEMAND_PRICES), [listed(55, at(1))], at(4))
    dated_back = merge_on_demand(first, [listed(50, at(1))], at(9))
    assert dated_back.select("since", "nano_usd_per_hour").rows() == [(at(1), 55), (at(4), 50)]
    dated_since = merge_on_demand(first, [listed(50, at(7))], at(9))
    assert dated_since.select("since", "nano_usd_per_hour").rows() == [(at(1), 55), (at(7), 50)]


def test_what_an_instance_is_made_of_becomes_a_row():
    rows = shape_rows([InstanceShape(P5, 192, 2_097_152, 8, "H100", 655_360, "1")], at(1))
    assert rows.schema == INSTANCE_TYPES.schema
    assert rows.row(0) == ("aws", P5, 192, 2_097_152, 8, "H100", 655_360, "1", at(1))
