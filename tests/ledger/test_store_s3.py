"""A bucket that is not there, refuses, or is careless: said in one line with the remedy, and never with a secret."""

import pytest

from ledger.ledger_settings import storage_options
from ledger.store import Store
from ledger.store_errors import StoreError
from ledger.store_maintenance import compact, vacuum
from ledger.tables import NODE_HOURS
from tests.ledger.store_rig import HOUR_5, HOUR_6, SECRET, bucket, hours, read

ROOT = "s3://books/ledger"


@pytest.fixture(scope="module")
def options():
    with bucket() as found:
        yield found


def refusal(root, options, **more):
    with pytest.raises(StoreError) as caught:
        Store(root, options={**options, **more}, tables=[NODE_HOURS]).append(NODE_HOURS, hours((HOUR_5, "a", 1)))
    text = str(caught.value)
    assert SECRET not in text
    assert "AKIAABCDEFGHIJKLMNOP" not in text
    assert "\n" not in text
    assert len(text) < 600
    return text


def test_a_ledger_in_a_bucket_is_written_read_compacted_and_cleaned(options):
    store = Store(ROOT, options=options, tables=[NODE_HOURS])
    store.claim_epoch()
    for ns in range(3):
        version = store.replace(NODE_HOURS, hours((HOUR_5, "a", ns), (HOUR_6, "b", 7)), {"node": ["a", "b"]})
    store.append(NODE_HOURS, hours((HOUR_5, "c", 1)))
    assert compact(store, NODE_HOURS, [HOUR_5.date()]) == 1
    assert vacuum(store, NODE_HOURS) == 0
    assert read(store) == [(5, "a", 2), (5, "c", 1), (6, "b", 7)]
    assert read(store, version - 1) == [(5, "a", 1), (6, "b", 7)]


def test_a_bucket_that_is_not_there(options):
    text = refusal("s3://no-books/ledger", options)
    assert text.startswith("cannot read node_hours at s3://no-books/ledger/node_hours: the bucket does not exist")


def test_an_endpoint_that_does_not_answer(options):
    text = refusal(ROOT, options, AWS_ENDPOINT_URL="http://127.0.0.1:9", max_retries="0")
    assert "the store does not answer: check AWS_ENDPOINT_URL and the network" in text


def test_plain_http_without_leave(options):
    assert "plain http is off: give an https endpoint, or set AWS_ALLOW_HTTP=true" in refusal(
        ROOT, options, AWS_ALLOW_HTTP="false"
    )


def test_a_bucket_that_only_lets_read():
    with bucket("deny") as options:
        text = refusal(ROOT, options)
    assert text.startswith("cannot create node_hours at s3://books/ledger/node_hours: no permission: allow")
    assert "403 Forbidden" in text


def test_the_environment_tells_of_the_bucket_and_nothing_else():
    environment = {"AWS_REGION": "eu-central-1", "AWS_PROFILE": "", "HOME": "/root", "AWS_ALLOW_HTTP": "true"}
    assert storage_options(environment) == {"AWS_REGION": "eu-central-1", "AWS_ALLOW_HTTP": "true"}


def test_a_store_never_shows_its_options(options):
    assert SECRET not in repr(Store(ROOT, options=options).place)
