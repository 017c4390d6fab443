import json
from datetime import UTC, datetime

import pytest

from collectors.errors import Unavailable, Unsupported
from collectors.spot_notice import AwsNotices, AzureNotices, GcpNotices, SpotNotice, notices

PORTAL = (200, {}, "<html>Sign in</html>")
TOKEN = "AQAEAGxvY2FsIHRlc3QgdG9rZW4="
ACTION = "GET /latest/meta-data/spot/instance-action"
REBALANCE = "GET /latest/meta-data/events/recommendations/rebalance"
PREEMPTED = "GET /computeMetadata/v1/instance/preempted"
MAINTENANCE = "GET /computeMetadata/v1/instance/maintenance-event"
EVENTS = "GET /metadata/scheduledevents?api-version=2020-07-01"
NAME = "GET /metadata/instance/compute/name?api-version=2021-02-01&format=text"
PATIENT_SECONDS = 20.0
"""A server on a busy machine may take longer than a metadata server is given."""
AT = datetime(2026, 11, 20, 8, 22, tzinfo=UTC)


def page(said, headers=None):
    return (200, headers or {}, said if isinstance(said, str) else json.dumps(said))


@pytest.fixture
def aws(metadata_server):
    metadata_server.answers["PUT /latest/api/token"] = page(TOKEN)
    return metadata_server


@pytest.fixture
def gcp(metadata_server):
    metadata_server.answers |= {
        PREEMPTED: page("FALSE", {"Metadata-Flavor": "Google"}),
        MAINTENANCE: page("NONE", {"Metadata-Flavor": "Google"}),
    }
    return metadata_server


@pytest.fixture
def azure(metadata_server):
    metadata_server.answers |= {EVENTS: page({"DocumentIncarnation": 1, "Events": []}), NAME: page("aks-pool_0")}
    return metadata_server


def event(kind, resources=("aks-pool_0",), not_before="Fri, 20 Nov 2026 08:22:00 GMT"):
    return {"EventId": "1", "EventType": kind, "Resources": list(resources), "NotBefore": not_before}


def test_a_machine_that_stays_has_no_notice(aws):
    assert AwsNotices(aws.url, PATIENT_SECONDS).read() is None


def test_an_interruption_on_aws_has_its_action_and_time(aws):
    aws.answers[ACTION] = page({"action": "terminate", "time": "2026-11-20T08:22:00Z"})
    aws.answers[REBALANCE] = page({"noticeTime": "2026-11-20T08:00:00Z"})
    assert AwsNotices(aws.url, PATIENT_SECONDS).read() == SpotNotice("interruption", AT, "terminate")


def test_a_rebalance_recommendation_is_told(aws):
    aws.answers[REBALANCE] = page({"noticeTime": "2026-11-20T08:22:00Z"})
    assert AwsNotices(aws.url, PATIENT_SECONDS).read() == SpotNotice("rebalance", AT, "rebalance")


def test_the_token_is_kept_for_most_of_its_life(aws):
    now = [0.0]
    reader = AwsNotices(aws.url, PATIENT_SECONDS, monotonic_seconds=lambda: now[0])
    for now[0] in (0, 5, 20_999, 21_000):
        reader.read()
    assert [asked for asked, _ in aws.asked].count("PUT /latest/api/token") == 2
    assert {headers["X-aws-ec2-metadata-token"] for asked, headers in aws.asked if asked == ACTION} == {TOKEN}


def test_a_token_that_is_refused_is_fetched_again_at_the_next_call(aws):
    reader = AwsNotices(aws.url, PATIENT_SECONDS)
    reader.read()
    aws.answers[ACTION] = (401, {}, "")
    with pytest.raises(Unavailable, match="HTTP 401"):
        reader.read()
    del aws.answers[ACTION]
    assert reader.read() is None
    assert [asked for asked, _ in aws.asked].count("PUT /latest/api/token") == 2


@pytest.mark.parametrize(
    "said", ["<html>", {"action": "terminate"}, {"action": "terminate", "time": "soon"}, {"time": 1}]
)
@pytest.mark.parametrize("path", [ACTION, REBALANCE])
def test_what_cannot_be_a_notice_of_aws_is_refused(aws, path, said):
    aws.answers[path] = page(said)
    with pytest.raises(Unavailable, match="this is not its answer"):
        AwsNotices(aws.url, PATIENT_SECONDS).read()


def test_a_date_that_does_not_exist_is_refused(aws):
    aws.answers[ACTION] = page({"action": "stop", "time": "2026-02-30T08:22:00Z"})
    with pytest.raises(Unavailable, match="gave '2026-02-30T08:22:00Z' as the time of its notice"):
        AwsNotices(aws.url, PATIENT_SECONDS).read()


def test_a_machine_of_google_that_stays_has_no_notice(gcp):
    assert GcpNotices(gcp.url, PATIENT_SECONDS).read() is None
    assert gcp.asked[0][1]["Host"] == "metadata.google.internal"


def test_a_preemption_on_google_has_no_time(gcp):
    gcp.answers[PREEMPTED] = page("TRUE", {"Metadata-Flavor": "Google"})
    assert GcpNotices(gcp.url, PATIENT_SECONDS).read() == SpotNotice("interruption", None, "preempted")


def test_maintenance_of_the_host_is_told(gcp):
    gcp.answers[MAINTENANCE] = page("TERMINATE_ON_HOST_MAINTENANCE", {"Metadata-Flavor": "Google"})
    assert GcpNotices(gcp.url, PATIENT_SECONDS).read() == SpotNotice(
        "maintenance", None, "TERMINATE_ON_HOST_MAINTENANCE"
    )


def test_a_server_that_hides_the_notice_is_unsupported_not_silent(gcp):
    del gcp.answers[PREEMPTED]
    with pytest.raises(Unsupported, match="does not tell preempted"):
        GcpNotices(gcp.url, PATIENT_SECONDS).read()


@pytest.mark.parametrize("answer", [PORTAL, (200, {"Metadata-Flavor": "Google"}, "PERHAPS")])
def test_what_cannot_be_a_notice_of_google_is_refused(gcp, answer):
    gcp.answers[PREEMPTED] = answer
    with pytest.raises(Unavailable, match="this is not its answer"):
        GcpNotices(gcp.url, PATIENT_SECONDS).read()


def test_a_machine_of_azure_that_stays_has_no_notice_and_is_not_asked_its_name(azure):
    assert AzureNotices(azure.url, PATIENT_SECONDS).read() is None
    assert [asked for asked, _ in azure.asked] == [EVENTS]


@pytest.mark.parametrize(
    ("action", "kind"), [("Preempt", "interruption"), ("Terminate", "interruption"), ("Reboot", "maintenance")]
)
def test_an_event_of_azure_is_told_with_its_time(azure, action, kind):
    azure.answers[EVENTS] = page({"Events": [event(action)]})
    assert AzureNotices(azure.url, PATIENT_SECONDS).read() == SpotNotice(kind, AT, action)


def test_the_most_serious_event_is_told(azure):
    azure.answers[EVENTS] = page({"Events": [event("Freeze"), event("Preempt")]})
    assert AzureNotices(azure.url, PATIENT_SECONDS).read().action == "Preempt"


def test_an_event_that_has_begun_has_no_time(azure):
    azure.answers[EVENTS] = page({"Events": [event("Preempt", not_before="")]})
    assert AzureNotices(azure.url, PATIENT_SECONDS).read().time_utc is None


def test_events_of_other_machines_are_not_ours(azure):
    azure.answers[EVENTS] = page({"Events": [event("Preempt", ["aks-pool_1", 7])]})
    assert AzureNotices(azure.url, PATIENT_SECONDS).read() is None


def test_this_machines_name_is_asked_once_and_read_in_any_case(azure):
    azure.answers[EVENTS] = page({"Events": [event("Preempt", ["AKS-POOL_0"])]})
    reader = AzureNotices(azure.url, PATIENT_SECONDS)
    assert [reader.read().action for _ in range(2)] == ["Preempt", "Preempt"]
    assert [asked for asked, _ in azure.asked].count(NAME) == 1


@pytest.mark.parametrize("said", ["<html>", {}, [], {"Events": {}}, {"Events": [event("Preempt", not_before="soon")]}])
def test_what_cannot_be_an_event_of_azure_is_refused(azure, said):
    azure.answers[EVENTS] = page(said)
    with pytest.raises(Unavailable, match="this is not its answer"):
        AzureNotices(azure.url, PATIENT_SECONDS).read()


@pytest.mark.parametrize("provider", ["aws", "gcp", "azure"])
def test_nobody_there_is_unavailable_with_the_remedy(provider, closed_port):
    with pytest.raises(Unavailable, match=r"did not answer within 0\.5 s .*: (see|in a container)"):
        notices(provider, closed_port).read()
