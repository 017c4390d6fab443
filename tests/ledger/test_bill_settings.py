from datetime import date
from decimal import Decimal

import pytest
from pydantic import ValidationError

from collectors.bill_shelf import Bucket, Directory
from ledger.bill_settings import BillSettings
from ledger.bill_sources import sources_of


def wrong(**settings):
    with pytest.raises(ValidationError) as error:
        BillSettings(**settings)
    return str(error.value)


def test_nothing_is_read_and_nothing_asked_by_default():
    settings = BillSettings()
    assert settings.sources == ()
    assert not settings.cost_explorer.enabled
    assert settings.cost_explorer.usd_per_request == Decimal("0.01")


def test_rates_are_exact_decimals_by_day():
    settings = BillSettings(rates={"EUR": [{"since": "2026-11-01", "usd_per_unit": "1.0857"}]})
    assert settings.rate_table().usd_per_unit("EUR", date(2026, 11, 30)) == Decimal("1.0857")


@pytest.mark.parametrize(
    ("rates", "why"),
    [
        ({"Euro": []}, "'Euro' is no other currency; allowed: an ISO 4217 code such as EUR"),
        ({"USD": []}, "'USD' is no other currency"),
        ({"EUR": [{"since": "2026-11-01", "usd_per_unit": "0"}]}, "greater than 0"),
        (
            {"EUR": [{"since": f"2026-{m}-01", "usd_per_unit": "1"} for m in (11, 10)]},
            "those of EUR do not ascend by day",
        ),
        ({"EUR": [{"since": "2026-11-01", "usd_per_unit": "1"}] * 2}, "do not ascend by day"),
    ],
)
def test_rates_that_cannot_be_are_refused(rates, why):
    assert why in wrong(rates=rates)


@pytest.mark.parametrize("path", ["bills", "s3:/bucket", "s3://", "https://bucket/x"])
def test_a_place_that_is_none_is_refused(path):
    assert "is neither an absolute path nor s3://bucket/prefix" in wrong(sources=[{"name": "a", "path": path}])


def test_two_sources_of_one_name_are_refused():
    source = {"name": "aws", "path": "/bills"}
    assert "sources aws stand twice" in wrong(sources=[source, source])


def test_cost_explorer_has_to_know_whose_bill_it_is():
    assert "enabled without billing_account" in wrong(cost_explorer={"enabled": True})


def test_sources_are_directories_and_prefixes_of_buckets(monkeypatch):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    settings = BillSettings(
        sources=[
            {"name": "azure", "path": "/bills", "timestamps": "%m/%d/%Y", "complete": {"BillingCurrency": "EUR"}},
            {"name": "aws", "path": "s3://acme-bills/cur", "region": "eu-central-1", "billing_account": "111"},
            {"name": "all", "path": "s3://acme-bills"},
        ]
    )
    azure, aws, everything = sources_of(settings)
    assert isinstance(azure.shelf, Directory)
    assert (azure.reading.timestamps, azure.complete) == ("%m/%d/%Y", {"BillingCurrency": "EUR"})
    assert isinstance(aws.shelf, Bucket)
    assert (aws.shelf.bucket, aws.shelf.prefix, aws.billing_account) == ("acme-bills", "cur/", "111")
    assert everything.shelf.prefix == ""
    for source in (aws, everything):
        source.shelf.client.close()


@pytest.mark.parametrize(
    ("path", "prefix"),
    [
        ("s3://acme-bills/cur", "cur/"),
        ("s3://acme-bills/cur/", "cur/"),
        ("s3://acme-bills/2026/november.csv.gz", "2026/november.csv.gz"),
        ("s3://acme-bills/", ""),
    ],
)
def test_a_prefix_is_a_folder_and_not_what_other_names_begin_with(monkeypatch, path, prefix):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (source,) = sources_of(BillSettings(sources=[{"name": "aws", "path": path}]))
    assert source.shelf.prefix == prefix
    source.shelf.client.close()
