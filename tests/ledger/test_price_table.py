from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors import price_list
from collectors.aws_prices import OnDemandPrice, SpotChange
from collectors.errors import Misconfigured
from ledger.price_live import merge_on_demand, merge_spot
from ledger.price_live_settings import LivePriceSettings
from ledger.price_settings import PriceSettings
from ledger.price_table import LedgerPrices, price_node_hours
from ledger.tables import ON_DEMAND_PRICES, PLACE, PRICES, SPOT_PRICES, empty

P5 = "p5.48xlarge"
H100 = "NVIDIA H100 80GB HBM3"
DAY = "2026-11-01"
BUNDLED = price_list.load()
LIST_PRICE_ID = "aws:price-list/aws/us-east-1/*/p5.48xlarge/on_demand@2026-11-01T00:00:00Z=60000000000n/8"


def at(day, hour=0, minute=0):
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


SPOT = merge_spot(
    empty(SPOT_PRICES),
    [
        SpotChange("us-east-1", "us-east-1a", P5, 30_000_000_001, at(2)),
        SpotChange("us-east-1", "us-east-1a", P5, 28_500_000_000, at(3, 9, 30)),
    ],
    at(4),
)
LISTED = merge_on_demand(empty(ON_DEMAND_PRICES), [OnDemandPrice("us-east-1", P5, 60_000_000_000, at(1))], at(4))


def node_hour(hour=None, gpus=8, model=H100, **place):
    known = {
        "node": "node-a",
        "provider": "aws",
        "region": "us-east-1",
        "zone": "us-east-1a",
        "instance_type": P5,
        "capacity_type": "on_demand",
    }
    return dict.fromkeys(PLACE, "") | known | place | {"hour_utc": hour or at(3), "gpu_model": model, "gpu_count": gpus}


def bare(**place):
    nothing = dict.fromkeys(("provider", "region", "zone", "instance_type", "capacity_type"), "")
    return node_hour(**(nothing | place))


def price(*hours, spot=SPOT, listed=LISTED, own_node="", live=None, **settings):
    schema = {"hour_utc": pl.Datetime("us", "UTC"), **PLACE, "gpu_model": pl.String, "gpu_count": pl.Int32}
    known = LedgerPrices(
        PriceSettings.model_validate(settings), BUNDLED, LivePriceSettings.model_validate(live or {}), own_node
    )
    frame = pl.LazyFrame(list(hours), schema=schema)
    return price_node_hours(frame, known, spot.lazy(), listed.lazy())


def one(*hours, **known):
    (row,) = price(*hours, **known).hours.iter_rows(named=True)
    return row


def instance(usd, **more):
    return {"instances": [{"instance_type": P5, "usd_per_hour": usd, "gpus": 8, "as_of": DAY, **more}]}


def test_the_clouds_list_price_stands_before_the_bundled_list():
    found = one(node_hour())
    assert found["nano_usd_per_node_hour"] == 60_000_000_000
    assert (
        found["price_id"] == "aws:price-list/aws/us-east-1/*/p5.48xlarge/on_demand@2026-11-01T00:00:00Z=60000000000n/8"
    )
    assert (found["price_source"], found["price_as_of"]) == ("aws:price-list", date(2026, 11, 1))
    assert (found["price_estimate"], found["price_note"], found["price_stale"]) == (False, "", False)


def test_a_configured_price_stands_before_the_clouds():
    found = one(node_hour(), **instance("38.5"))
    assert (found["nano_usd_per_node_hour"], found["price_source"]) == (38_500_000_000, "config")
    assert found["price_id"] == "config/p5.48xlarge/on_demand@2026-11-01=38500000000n/8"


def test_a_spot_node_has_the_spot_price_of_its_zone_and_hour():
    hours = [node_hour(at(3, hour), capacity_type="spot") for hour in (8, 9, 10)]
    found = price(*hours).hours
    assert found.get_column("nano_usd_per_node_hour").to_list() == [30_000_000_001, 30_000_000_001, 28_500_000_000]
    assert found.get_column("price_id").to_list()[2] == (
        "aws:spot-price-history/aws/us-east-1/us-east-1a/p5.48xlarge/spot@2026-11-03T09:30:00Z=28500000000n/8"
    )
    assert found.get_column("price_capacity_type").to_list() == ["spot"] * 3


@pytest.mark.parametrize(
    ("place", "note"),
    [
        ({"capacity_type": "spot", "zone": "us-east-1f"}, "the node is spot, its price is not known"),
        ({"capacity_type": "spot", "zone": ""}, "the node is spot, its price is not known"),
        ({"capacity_type": ""}, "the node did not say whether it is spot"),
        ({"capacity_type": "capacity_block"}, "the node is not on demand"),
    ],
)
def test_a_list_price_that_may_not_be_the_nodes_own_is_an_estimate_and_says_so(place, note):
    found = one(node_hour(**place))
    assert (found["nano_usd_per_node_hour"], found["price_capacity_type"]) == (60_000_000_000, "on_demand")
    assert found["price_estimate"]
    assert found["price_note"].startswith(note)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("hour", [at(1), at(1) - timedelta(hours=1)], ids=["live", "bundled"])
def test_an_estimate_and_the_same_price_that_is_none_are_told_apart(hour, turned):
    capacities = ["on_demand", "spot", "", "capacity_block", "reserved"] if hour == at(1) else ["on_demand", "spot", ""]
    hours = [node_hour(hour, node=f"n-{each}", capacity_type=each, zone="us-east-1f") for each in capacities]
    found = price(*(hours[::-1] if turned else hours))
    ids = found.hours.get_column("price_id").to_list()
    told = {row["price_id"]: (row["estimate"], row["note"]) for row in found.prices.iter_rows(named=True)}
    assert len(set(ids)) == len(capacities)
    for row in found.hours.iter_rows(named=True):
        assert told[row["price_id"]] == (row["price_estimate"], row["price_note"])


def test_the_price_of_another_region_is_told_apart_by_the_nodes_own():
    before = at(1) - timedelta(hours=1)
    found = price(*(node_hour(before, node=each, region=each, zone="") for each in ("us-east-1", "xx-a-1", "xx-b-1")))
    assert len(set(found.hours.get_column("price_id"))) == 3
    notes = dict(found.prices.select("price_id", "note").iter_rows())
    assert [notes[each].partition(":")[0] for each in found.hours.get_column("price_id")] == [
        "",
        "the list has no price for xx-a-1",
        "the list has no price for xx-b-1",
    ]


def test_a_reserved_node_has_the_list_price_and_no_discount_in_it():
    found = one(node_hour(capacity_type="reserved"))
    assert (found["nano_usd_per_node_hour"], found["price_estimate"]) == (60_000_000_000, False)
    assert "what was paid is in the bill" in found["price_note"]


def test_before_the_cloud_was_asked_the_bundled_list_prices():
    found = one(node_hour(at(1) - timedelta(hours=1)))
    assert found["nano_usd_per_node_hour"] == 55_040_000_000
    assert found["price_source"] == "bundled:aws-us-east-1-2026-02"
    assert (
        found["price_id"]
        == "bundled:aws-us-east-1-2026-02/aws/us-east-1/p5.48xlarge/on_demand@2026-02-09=55040000000n/8"
    )


def test_a_price_change_in_the_middle_of_a_month_keeps_the_former_hours():
    changed = merge_on_demand(LISTED, [OnDemandPrice("us-east-1", P5, 50_000_000_000, at(15))], at(16))
    found = price(node_hour(at(14, 23)), node_hour(at(15)), listed=changed)
    assert found.hours.get_column("nano_usd_per_node_hour").to_list() == [60_000_000_000, 50_000_000_000]
    assert found.prices.height == 2


def test_a_price_nobody_read_for_long_is_used_and_said_to_be_stale():
    hours = [node_hour(at(5, 12)), node_hour(at(5, 13))]
    assert price(*hours).hours.get_column("price_stale").to_list() == [False, True]
    spot_hours = [node_hour(at(5, hour), capacity_type="spot") for hour in (12, 13)]
    assert price(*spot_hours).hours.get_column("price_stale").to_list() == [False, True]


def test_a_listed_price_is_stale_by_its_date():
    assert one(node_hour(), **instance("38.5"), stale_after_days=2)["price_stale"] is False
    assert one(node_hour(at(4)), **instance("38.5"), stale_after_days=2)["price_stale"] is True
    assert one(node_hour(at(1)), listed=empty(ON_DEMAND_PRICES))["price_stale"] is True


def test_machines_of_ones_own_have_the_price_of_their_gpus():
    own = {"capital_usd": 240000, "gpus": 8, "years": 4, "mean_watts": 6000, "pue": "1.3"}
    settings = {"on_prem": [own | {"tariff_usd_per_kwh": "0.12", "operations_share": "0.25", "as_of": DAY}]}
    assert one(bare(), **settings)["nano_usd_per_node_hour"] == 9_731_643_836
    # four GPUs bear 1,216,455,480 and four a nano-dollar less; two more servers of 8 in a node of 24
    assert one(bare(gpus=4), **settings)["nano_usd_per_node_hour"] == 4 * 1_216_455_480
    assert one(bare(gpus=24), **settings)["nano_usd_per_node_hour"] == 3 * 9_731_643_836
    assert one(bare(gpus=4), **settings)["price_capacity_type"] == "on_prem"


def test_the_price_of_a_model_counts_for_each_gpu():
    settings = {"models": [{"model": "H100-80GB", "usd_per_gpu_hour": "2.5", "as_of": DAY}]}
    assert one(bare(gpus=3), **settings)["nano_usd_per_node_hour"] == 7_500_000_000


def test_an_unknown_machine_has_the_median_and_it_is_an_estimate():
    found = one(bare(gpus=2))
    assert (found["nano_usd_per_node_hour"], found["price_estimate"]) == (2 * 4_647_500_000, True)
    assert found["price_source"] == "bundled:median-of-10"


def test_what_nobody_can_price_has_no_price_and_no_row():
    found = price(bare(model="NVIDIA H900"), bare(node="node-b"), fallback="none")
    assert found.hours.get_column("nano_usd_per_node_hour").to_list() == [None, None]
    assert found.hours.get_column("price_id").to_list() == ["", ""]
    assert found.hours.get_column("price_stale").to_list() == [None, None]
    assert found.prices.is_empty()


def test_a_node_without_gpus_has_no_price():
    assert one(node_hour(gpus=0))["nano_usd_per_node_hour"] is None


def test_the_own_nodes_price_is_for_that_node_alone():
    settings = {"node": {"usd_per_hour": "12", "as_of": DAY}}
    hours = [node_hour(), node_hour(node="node-b")]
    found = price(*hours, own_node="node-a", **settings).hours
    assert found.get_column("nano_usd_per_node_hour").to_list() == [12_000_000_000, 60_000_000_000]
    fleet = price(*hours, **settings).hours
    assert fleet.get_column("nano_usd_per_node_hour").to_list() == [60_000_000_000] * 2


def test_an_own_price_for_fewer_gpus_than_there_are_is_refused():
    with pytest.raises(Misconfigured, match=r"prices\.node\.gpus is 4, but the node has 8 GPUs"):
        price(node_hour(), own_node="node-a", node={"usd_per_hour": "12", "gpus": 4, "as_of": DAY})


def test_a_nodes_price_is_split_over_its_models_and_adds_up():
    settings = {"node": {"usd_per_hour": "1", "as_of": DAY}}
    found = price(bare(model="Tesla T4", gpus=2), bare(gpus=1), own_node="node-a", **settings).hours
    assert dict(found.select("gpu_model", "nano_usd_per_node_hour").iter_rows()) == {
        H100: 333_333_333,
        "Tesla T4": 666_666_667,
    }


def test_each_price_used_stands_once_with_its_place_and_date():
    found = price(*[node_hour(at(3, hour), node=f"node-{hour}") for hour in range(5)]).prices
    assert found.schema == PRICES.schema
    assert found.rows(named=True) == [
        {
            "price_id": LIST_PRICE_ID,
            "nano_usd_per_gpu_hour": 7_500_000_000,
            "nano_usd_per_node_hour": 60_000_000_000,
            "provider": "aws",
            "region": "us-east-1",
            "zone": "",
            "instance_type": P5,
            "capacity_type": "on_demand",
            "source": "aws:price-list",
            "as_of": date(2026, 11, 1),
            "estimate": False,
            "note": "",
        }
    ]


@settings(max_examples=25)
@given(
    st.lists(st.integers(1, 64), min_size=1, max_size=6), st.integers(100_000, 10**14).map(lambda nano: f"{nano}e-9")
)
def test_the_parts_of_a_node_add_up_to_its_price(counts, usd):
    hours = [bare(model=f"model {place}", gpus=count) for place, count in enumerate(counts)]
    found = price(*hours, own_node="node-a", node={"usd_per_hour": usd, "as_of": DAY}).hours
    assert found.get_column("nano_usd_per_node_hour").sum() == round(float(usd) * 1e9)


@settings(max_examples=25)
@given(st.permutations(range(6)))
def test_the_order_of_rows_decides_nothing(order):
    hours = [node_hour(at(3, hour), capacity_type=kind) for hour in (8, 9, 10) for kind in ("spot", "on_demand")]
    hours = [hour | {"node": f"node-{place % 2}"} for place, hour in enumerate(hours)]
    assert price(*[hours[place] for place in order]).hours.equals(price(*hours).hours)


def test_a_price_says_of_what_it_is():
    def said(**known):
        return price(node_hour(capacity_type=known.pop("capacity_type", "on_demand")), **known).prices.select(
            "provider", "region", "zone", "instance_type"
        )

    assert said(capacity_type="spot").row(0) == ("aws", "us-east-1", "us-east-1a", P5)
    assert said(listed=empty(ON_DEMAND_PRICES)).row(0) == ("aws", "us-east-1", "", P5)
    assert said(**instance("38.5")).row(0) == ("aws", "", "", P5)
    assert said(models=[{"model": H100, "usd_per_gpu_hour": "2.5", "as_of": DAY}]).row(0) == ("", "", "", "")
