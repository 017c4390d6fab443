import json
from functools import partial

import pytest

from collectors import cloud_aws
from collectors.cloud_metadata import CloudIdentity
from collectors.errors import Unavailable

identity = partial(cloud_aws.identity, timeout_seconds=30)
"""A machine under load takes its time."""

TOKEN = "AQAEAGxvY2FsIHRlc3QgdG9rZW4="
PORTAL = (200, {"Content-Type": "text/html"}, "<html><title>Sign in to the network</title></html>")


def page(text):
    return (200, {}, text)


@pytest.fixture
def imds(metadata_server):
    root = "GET /latest/meta-data/"
    document = {"accountId": "123456789012", "privateIp": "10.0.0.1"}
    metadata_server.answers |= {
        "PUT /latest/api/token": page(TOKEN),
        root + "instance-id": page("i-0123456789abcdef0"),
        root + "instance-type": page("p5.48xlarge"),
        root + "instance-life-cycle": page("on-demand"),
        root + "placement/availability-zone": page("us-east-1a"),
        "GET /latest/dynamic/instance-identity/document": page(json.dumps(document)),
    }
    return metadata_server


def test_an_instance_knows_who_it_is(imds):
    assert identity(imds.url) == CloudIdentity(
        provider="aws",
        instance_id="i-0123456789abcdef0",
        instance_type="p5.48xlarge",
        region="us-east-1",
        zone="us-east-1a",
        capacity_type="on_demand",
        account="123456789012",
    )


def test_the_token_is_fetched_first_and_shown_with_each_question(imds):
    identity(imds.url)
    (first, headers), *rest = imds.asked
    assert first == "PUT /latest/api/token"
    assert headers["X-aws-ec2-metadata-token-ttl-seconds"] == "60"
    assert {headers["X-aws-ec2-metadata-token"] for _asked, headers in rest} == {TOKEN}


def test_no_proxy_of_the_environment_is_used(imds, monkeypatch, closed_port):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, closed_port)
    assert identity(imds.url).provider == "aws"


@pytest.mark.parametrize(("said", "capacity"), [("spot", "spot"), ("on-demand", "on_demand"), ("scheduled", None)])
def test_the_life_cycle_gives_the_capacity_type(imds, said, capacity):
    imds.answers["GET /latest/meta-data/instance-life-cycle"] = page(said)
    assert identity(imds.url).capacity_type == capacity


def test_an_unknown_life_cycle_is_absent(imds):
    del imds.answers["GET /latest/meta-data/instance-life-cycle"]
    assert identity(imds.url).capacity_type is None


@pytest.mark.parametrize(
    ("zone", "region"),
    [
        ("us-east-1-bos-1a", "us-east-1"),
        ("us-gov-west-1b", "us-gov-west-1"),
        ("ap-southeast-2c", "ap-southeast-2"),
        ("us-west-2-lax-1b", "us-west-2"),
    ],
)
def test_the_region_is_read_from_any_kind_of_zone(imds, zone, region):
    imds.answers["GET /latest/meta-data/placement/availability-zone"] = page(zone)
    assert identity(imds.url).region == region


@pytest.mark.parametrize("answer", [(404, {}, ""), page("no JSON"), page("[]"), page('{"accountId": 12}')])
def test_an_account_that_is_not_told_is_absent(imds, answer):
    imds.answers["GET /latest/dynamic/instance-identity/document"] = answer
    assert identity(imds.url).account is None


def test_a_service_that_is_switched_off_is_unavailable_with_the_remedy(imds):
    imds.answers["PUT /latest/api/token"] = (403, {}, "")
    with pytest.raises(Unavailable, match=r"refused /latest/api/token \(HTTP 403\): .*--http-endpoint enabled"):
        identity(imds.url)


def test_a_service_one_hop_too_far_is_unavailable_with_the_remedy(imds):
    imds.answers["PUT /latest/api/token"] = (None, {}, "")
    with pytest.raises(Unavailable, match=r"did not answer within 0\.05 s .*hop-limit 2"):
        identity(imds.url, timeout_seconds=0.05)


@pytest.mark.parametrize(
    "asked",
    [
        "PUT /latest/api/token",
        "GET /latest/meta-data/instance-id",
        "GET /latest/meta-data/instance-type",
        "GET /latest/meta-data/placement/availability-zone",
    ],
)
def test_a_captive_portals_page_is_refused(imds, asked):
    imds.answers[asked] = PORTAL
    with pytest.raises(Unavailable, match=r"gave '<html>.* proxy or captive portal"):
        identity(imds.url)


def test_a_redirect_is_refused_and_not_followed(imds):
    imds.answers["PUT /latest/api/token"] = (302, {"Location": f"{imds.url}/login"}, "")
    with pytest.raises(Unavailable, match=r"redirected /latest/api/token to 'http://127.*captive portal"):
        identity(imds.url)
    assert len(imds.asked) == 1


def test_an_answer_without_end_is_refused(imds):
    imds.answers["GET /latest/meta-data/instance-id"] = page("i" * 70_000)
    with pytest.raises(Unavailable, match="with more than 65536 bytes"):
        identity(imds.url)


def test_nobody_there_is_unavailable(closed_port):
    with pytest.raises(Unavailable, match="did not answer within"):
        identity(closed_port)
