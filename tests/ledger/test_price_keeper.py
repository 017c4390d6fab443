from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from ledger.price_keeper import PriceKeeper
from ledger.price_live_settings import LivePriceSettings
from ledger.store import Store
from ledger.tables import INSTANCE_TYPES, NODE_HOURS, ON_DEMAND_PRICES, SPOT_PRICES, conform
from tests.collectors.aws_server import AwsServer, product, shape, spot

P5, G6 = "p5.48xlarge", "g6.xlarge"
NOW = datetime(2026, 11, 5, 12, tzinfo=UTC)


@pytest.fixture
def aws(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    server = AwsServer()
    server.products[P5, "us-east-1"] = [product("55.04")]
    server.products[G6, "us-east-1"] = [product("0.8048")]
    server.spot = [spot("30", "2026-11-03T09:30:00.000Z")]
    server.shapes = [shape(P5, 192, 2_097_152, 8, "H100", 81_920)]
    yield server
    server.close()


@pytest.fixture
def store(tmp_path):
    made = Store(str(tmp_path / "ledger"))
    node_hours(made, {"node": "a", "instance_type": P5, "capacity_type": "spot"}, {"node": "b", "instance_type": G6})
    return made


def node_hours(store, *rows):
    texts = {name: "" for name, dtype in NODE_HOURS.schema.items() if dtype == pl.String}
    known = {"day": date(2026, 11, 4), "hour_utc": datetime(2026, 11, 4, tzinfo=UTC), "source": "measured"}
    place = {"provider": "aws", "region": "us-east-1", "capacity_type": "on_demand"}
    frame = pl.LazyFrame([texts | known | place | row for row in rows], schema_overrides=NODE_HOURS.schema)
    store.append(NODE_HOURS, conform(NODE_HOURS, frame).collect())


def keeper(store, server, **settings):
    known = {"pricing_url": server.url, "ec2_url": server.url, "attempts": 1} | settings
    return PriceKeeper(store, LivePriceSettings.model_validate(known))


def rows(store, table, *columns):
    return store.scan(table).select(columns).sort(columns).collect().rows()


def test_what_nodes_are_seen_as_is_asked_for_and_stored(store, aws):
    read = keeper(store, aws).run(NOW)
    assert (read.regions, read.refused, read.failed) == (("us-east-1",), (), ())
    listed = rows(store, ON_DEMAND_PRICES, "instance_type", "nano_usd_per_hour")
    assert listed == [(G6, 804_800_000), (P5, 55_040_000_000)]
    assert rows(store, SPOT_PRICES, "instance_type", "zone", "nano_usd_per_hour", "read_through") == [
        (P5, "us-east-1a", 30_000_000_000, NOW)
    ]
    assert rows(store, INSTANCE_TYPES, "instance_type", "vcpus", "memory_mib", "gpu_count") == [(P5, 192, 2_097_152, 8)]


def test_spot_prices_are_asked_of_types_that_ran_on_spot_and_from_the_last_reading_on(store, aws):
    kept = keeper(store, aws)
    kept.run(NOW)
    kept.run(NOW + timedelta(hours=6))
    asked = [query for query in aws.asked if query.get("Action") == "DescribeSpotPriceHistory"]
    assert [query["InstanceType.1"] for query in asked] == [P5, P5]
    assert not any("InstanceType.2" in query for query in asked)
    assert [query["StartTime"][:16] for query in asked] == ["2026-08-07T12:00", "2026-11-05T10:00"]


def test_reading_again_changes_only_how_far_the_prices_reach(store, aws):
    kept = keeper(store, aws)
    kept.run(NOW)
    before = rows(store, ON_DEMAND_PRICES, "instance_type", "since", "nano_usd_per_hour")
    later = NOW + timedelta(hours=6)
    kept.run(later)
    assert rows(store, ON_DEMAND_PRICES, "instance_type", "since", "nano_usd_per_hour") == before
    assert rows(store, ON_DEMAND_PRICES, "read_through") == [(later,), (later,)]
    assert rows(store, SPOT_PRICES, "nano_usd_per_hour", "read_through") == [(30_000_000_000, later)]


def test_simulated_nodes_and_those_in_no_cloud_ask_nobody(tmp_path, aws):
    store = Store(str(tmp_path / "other"))
    node_hours(
        store,
        {"node": "a", "instance_type": P5, "source": "simulated"},
        {"node": "b", "instance_type": P5, "provider": ""},
        {"node": "c", "instance_type": P5, "day": date(2026, 7, 1)},
        {"node": "d", "instance_type": P5, "provider": "gcp"},
    )
    assert keeper(store, aws).run(NOW).regions == ()
    assert aws.asked == []


def test_off_asks_nobody(store, aws):
    assert keeper(store, aws, aws="off").run(NOW).regions == ()
    assert aws.asked == []


def test_a_right_that_is_missing_leaves_the_other_readings_and_is_said(store, aws, caplog):
    aws.refuse = ["UnauthorizedOperation"]
    read = keeper(store, aws).run(NOW)
    (said,) = read.failed
    assert "allow ec2:DescribeInstanceTypes in the IAM policy" in said
    assert said in caplog.text
    assert len(rows(store, ON_DEMAND_PRICES, "instance_type")) == 2


def test_a_price_that_cannot_be_leaves_the_former_in_force_and_is_said(store, aws, caplog):
    kept = keeper(store, aws)
    kept.run(NOW)
    aws.products[P5, "us-east-1"] = [product("0.0000000000")]
    read = kept.run(NOW + timedelta(hours=6))
    (said,) = read.refused
    assert said.startswith("AWS price list, p5.48xlarge in us-east-1: found 0.0000000000 USD")
    assert said in caplog.text
    reach = dict(rows(store, ON_DEMAND_PRICES, "instance_type", "read_through"))
    assert reach == {P5: NOW, G6: NOW + timedelta(hours=6)}
