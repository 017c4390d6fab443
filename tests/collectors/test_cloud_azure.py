import json
from functools import partial

import pytest

from collectors import cloud_azure
from collectors.cloud_metadata import CloudIdentity
from collectors.errors import Unavailable

identity = partial(cloud_azure.identity, timeout_seconds=30)
"""A machine under load takes its time."""

PATH = "GET /metadata/instance/compute?api-version=2021-02-01&format=json"
COMPUTE = {
    "location": "eastus",
    "priority": "Regular",
    "publicKeys": [{"keyData": "not ours"}],
    "subscriptionId": "8d10da13-8125-4ba9-a717-bf7490507b3d",
    "vmId": "02aab8a4-74ef-476e-8182-f6d2ba4166a6",
    "vmSize": "Standard_ND96isr_H100_v5",
    "zone": "2",
}


@pytest.fixture
def imds(metadata_server):
    def say(**changes):
        said = {key: value for key, value in (COMPUTE | changes).items() if value is not None}
        metadata_server.answers[PATH] = (200, {}, json.dumps(said))
        return metadata_server

    say()
    metadata_server.say = say
    return metadata_server


def test_a_machine_knows_who_it_is(imds):
    assert identity(imds.url) == CloudIdentity(
        provider="azure",
        instance_id="02aab8a4-74ef-476e-8182-f6d2ba4166a6",
        instance_type="Standard_ND96isr_H100_v5",
        region="eastus",
        zone="eastus-2",
        capacity_type="on_demand",
        account="8d10da13-8125-4ba9-a717-bf7490507b3d",
    )
    assert imds.asked[0][1]["Metadata"] == "true"


@pytest.mark.parametrize(
    ("priority", "capacity"),
    [("Spot", "spot"), ("Low", "spot"), ("", "on_demand"), ("Urgent", None), (None, None)],
)
def test_the_priority_gives_the_capacity_type(imds, priority, capacity):
    imds.say(priority=priority)
    assert identity(imds.url).capacity_type == capacity


def test_what_is_not_told_is_absent(imds):
    imds.say(zone="", subscriptionId=None)
    told = identity(imds.url)
    assert (told.zone, told.account) == (None, None)


@pytest.mark.parametrize("body", ["<html>sign in</html>", "[]", "", '"eastus"'])
def test_an_answer_that_is_no_object_is_refused(imds, body):
    imds.answers[PATH] = (200, {}, body)
    with pytest.raises(Unavailable, match=r"where a JSON object belongs.*captive portal"):
        identity(imds.url)


@pytest.mark.parametrize("key", ["vmId", "vmSize", "location"])
@pytest.mark.parametrize("value", [None, "", "<b>", 7])
def test_a_field_that_cannot_be_true_is_refused(imds, key, value):
    imds.say(**{key: value})
    with pytest.raises(Unavailable, match=f"as its {key}"):
        identity(imds.url)


def test_a_silent_service_is_unavailable_with_the_remedy(closed_port):
    with pytest.raises(Unavailable, match=r"Azure metadata server .* did not answer .*without a proxy"):
        identity(closed_port)
