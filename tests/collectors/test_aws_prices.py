import socket
from datetime import UTC, datetime

import pytest

from collectors.aws_client import client
from collectors.aws_prices import (
    InstanceShape,
    OnDemandPrice,
    SpotChange,
    instance_shapes,
    on_demand_prices,
    pricing_endpoint,
    spot_history,
)
from collectors.errors import Misconfigured, Unavailable
from tests.collectors.aws_server import product, spot

P5 = "p5.48xlarge"
SINCE = datetime(2026, 11, 3, tzinfo=UTC)


def connect(service, url, attempts=1):
    return client(service, "us-east-1", endpoint_url=url, attempts=attempts)


def list_prices(server, *instance_types, attempts=1):
    made = connect("pricing", server.url, attempts)
    try:
        return on_demand_prices(made, "us-east-1", "us-east-1", instance_types)
    finally:
        made.close()


def spot_prices(server, *instance_types):
    made = connect("ec2", server.url)
    try:
        return spot_history(made, "us-east-1", instance_types, SINCE)
    finally:
        made.close()


def test_an_on_demand_price_is_read_to_the_nano_dollar_with_the_day_it_holds_from(aws):
    aws.products[P5, "us-east-1"] = [product("55.0400000001")]
    read = list_prices(aws, P5)
    assert read.prices == (OnDemandPrice("us-east-1", P5, 55_040_000_000, datetime(2026, 11, 1, tzinfo=UTC)),)
    assert read.refused == ()


def test_the_price_asked_for_is_that_of_linux_shared_and_bare(aws):
    aws.products[P5, "us-east-1"] = [product()]
    list_prices(aws, P5)
    (asked,) = aws.asked
    assert asked["ServiceCode"] == "AmazonEC2"
    assert {(each["Field"], each["Value"], each["Type"]) for each in asked["Filters"]} == {
        ("instanceType", P5, "TERM_MATCH"),
        ("regionCode", "us-east-1", "TERM_MATCH"),
        ("operatingSystem", "Linux", "TERM_MATCH"),
        ("tenancy", "Shared", "TERM_MATCH"),
        ("preInstalledSw", "NA", "TERM_MATCH"),
        ("capacitystatus", "Used", "TERM_MATCH"),
    }


def test_every_page_of_the_price_list_is_read_and_capacity_blocks_are_no_list_price(aws):
    block = product("0.0000000000", marketoption="CapacityBlock")
    aws.products[P5, "us-east-1"] = [block, block, product("55.04", marketoption="OnDemand")]
    assert [price.nano_usd_per_hour for price in list_prices(aws, P5).prices] == [55_040_000_000]
    assert len(aws.asked) == 2


@pytest.mark.parametrize(
    ("products", "why"),
    [
        ([], "the list has no on-demand price of it"),
        ([product("0.0000000000")], "found 0.0000000000 USD; a price is above 0"),
        ([product("-1")], "found -1 USD; a price is above 0"),
        ([product("1e9")], "at most 100000"),
        ([product("cheap")], "found 'cheap', which is no decimal"),
        ([product("NaN")], "found 'NaN', which is no decimal"),
        ([product(currency="CNY")], "priced in CNY, not in USD; set prices.instances"),
        ([product(unit="Quantity")], "priced by 'Quantity', not by Hrs"),
        ([product(since="lately")], "found the date 'lately'"),
        ([product("1.5"), product("2.5")], "more than one on-demand price, 1.5 and 2.5 USD"),
    ],
)
def test_a_price_that_cannot_be_one_is_refused_by_name_and_the_others_stay(aws, products, why):
    aws.products[P5, "us-east-1"] = products
    aws.products["g6.xlarge", "us-east-1"] = [product("0.8048")]
    read = list_prices(aws, P5, "g6.xlarge")
    assert [(price.instance_type, price.nano_usd_per_hour) for price in read.prices] == [("g6.xlarge", 804_800_000)]
    (refused,) = read.refused
    assert refused.startswith("AWS price list, p5.48xlarge in us-east-1: ")
    assert why in refused


def test_a_price_given_as_a_json_number_is_no_float_either(aws):
    aws.products[P5, "us-east-1"] = [product(0.000123457)]
    assert [price.nano_usd_per_hour for price in list_prices(aws, P5).prices] == [123_457]


def test_a_product_that_is_no_json_is_no_answer(aws):
    aws.products[P5, "us-east-1"] = ["{"]
    with pytest.raises(Unavailable, match="AWS pricing in us-east-1 gave a product that is no JSON"):
        list_prices(aws, P5)


def test_spot_prices_come_by_zone_oldest_first_from_every_page(aws):
    aws.spot = [
        spot("30.100000", "2026-11-03T09:30:00.000Z"),
        spot("29.5", "2026-11-02T21:10:05.000Z"),
        spot("28.000001", "2026-11-01T00:00:00.000Z", zone="us-east-1b"),
    ]
    read = spot_prices(aws, P5)
    assert read.changes == (
        SpotChange("us-east-1", "us-east-1a", P5, 29_500_000_000, datetime(2026, 11, 2, 21, 10, 5, tzinfo=UTC)),
        SpotChange("us-east-1", "us-east-1a", P5, 30_100_000_000, datetime(2026, 11, 3, 9, 30, tzinfo=UTC)),
        SpotChange("us-east-1", "us-east-1b", P5, 28_000_001_000, datetime(2026, 11, 1, tzinfo=UTC)),
    )
    assert len(aws.asked) == 2
    assert aws.asked[0]["ProductDescription.1"] == "Linux/UNIX"
    assert aws.asked[0]["StartTime"].startswith("2026-11-03T00:00:00")


def test_a_spot_price_of_zero_refuses_its_zone_and_leaves_the_others(aws):
    aws.spot = [
        spot("0.000000", "2026-11-03T09:30:00.000Z"),
        spot("29.5", "2026-11-02T21:10:05.000Z"),
        spot("28", "2026-11-01T00:00:00.000Z", zone="us-east-1b"),
    ]
    read = spot_prices(aws, P5)
    assert [change.zone for change in read.changes] == ["us-east-1b"]
    assert read.refused == (
        (
            "AWS spot price, p5.48xlarge in us-east-1a: found 0.000000 USD; a price is above 0 and at most 100000;"
            " the former price stays"
        ),
    )


def test_nothing_wanted_asks_nothing(aws):
    assert spot_prices(aws).changes == ()
    assert list_prices(aws).prices == ()
    assert aws.asked == []


@pytest.mark.parametrize(
    ("code", "kind", "remedy"),
    [
        ("AccessDeniedException", Unavailable, "allow pricing:GetProducts in the IAM policy of the controller's role"),
        ("ThrottlingException", Unavailable, "at each of several attempts"),
        ("ExpiredTokenException", Misconfigured, "the credentials are not accepted"),
        ("InternalErrorException", Unavailable, "it is asked again"),
    ],
)
def test_what_aws_refuses_is_said_with_its_remedy(aws, code, kind, remedy):
    aws.refuse = [code]
    with pytest.raises(kind) as refused:
        list_prices(aws, P5)
    assert f"AWS pricing in us-east-1 answered {code} (no)" in str(refused.value)
    assert remedy in str(refused.value)


def test_a_missing_right_on_ec2_names_its_action(aws):
    aws.refuse = ["UnauthorizedOperation"]
    with pytest.raises(Unavailable, match="allow ec2:DescribeSpotPriceHistory in the IAM policy"):
        spot_prices(aws, P5)


def test_a_throttled_request_is_sent_again_and_not_for_ever(aws):
    aws.products[P5, "us-east-1"] = [product()]
    aws.refuse = ["ThrottlingException"]
    assert len(list_prices(aws, P5, attempts=2).prices) == 1
    aws.refuse = ["ThrottlingException"] * 9
    with pytest.raises(Unavailable):
        list_prices(aws, P5, attempts=2)
    assert len(aws.refuse) == 7


def test_without_credentials_the_message_says_where_to_give_them(aws, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(Misconfigured, match=r"AWS pricing in us-east-1: no credentials .*: give the controller a role"):
        list_prices(aws, P5)


def test_an_endpoint_that_does_not_answer_is_unavailable(aws):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    made = connect("pricing", url)
    with pytest.raises(Unavailable, match="AWS pricing in us-east-1 does not answer"):
        on_demand_prices(made, "us-east-1", "us-east-1", [P5])
    made.close()


@pytest.mark.parametrize(
    ("region", "endpoint"),
    [
        ("us-west-2", "us-east-1"),
        ("sa-east-1", "us-east-1"),
        ("ca-central-1", "us-east-1"),
        ("eu-north-1", "eu-central-1"),
        ("ap-northeast-1", "ap-south-1"),
        ("me-central-1", "ap-south-1"),
    ],
)
def test_the_price_list_is_asked_in_one_of_its_three_regions(region, endpoint):
    assert pricing_endpoint(region) == endpoint


def test_moto_knows_what_real_instances_are_made_of(moto):
    made = connect("ec2", moto)
    shapes = instance_shapes(made, "us-east-1", ["p4d.24xlarge", "g6f.large", "m5.large", "no.such"])
    made.close()
    assert shapes == (
        InstanceShape("g6f.large", 2, 8192, 1, "L4", 2861, "0.125"),
        InstanceShape("m5.large", 2, 8192, 0, "", 0, "1"),
        InstanceShape("p4d.24xlarge", 96, 1179648, 8, "A100", 327680, "1"),
    )


def test_moto_serves_spot_prices_of_zones(moto):
    made = connect("ec2", moto)
    read = spot_history(made, "us-east-1", ["g4dn.xlarge"], SINCE)
    made.close()
    assert {change.nano_usd_per_hour for change in read.changes} == {10_000}
    assert all(change.zone.startswith("us-east-1") for change in read.changes)
