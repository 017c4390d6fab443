from functools import partial

import pytest

from collectors import cloud_gcp
from collectors.cloud_metadata import CloudIdentity
from collectors.errors import Unavailable

identity = partial(cloud_gcp.identity, timeout_seconds=30)
"""A machine under load takes its time."""

ROOT = "GET /computeMetadata/v1/"


def page(text):
    return (200, {"Metadata-Flavor": "Google"}, text)


@pytest.fixture
def metadata(metadata_server):
    metadata_server.answers |= {
        ROOT + "instance/id": page("4520031799277581759"),
        ROOT + "instance/machine-type": page("projects/123456/machineTypes/a3-highgpu-8g"),
        ROOT + "instance/zone": page("projects/123456/zones/us-central1-a"),
        ROOT + "instance/scheduling/preemptible": page("FALSE"),
        ROOT + "project/project-id": page("example.com:fleet"),
    }
    return metadata_server


def test_an_instance_knows_who_it_is(metadata):
    assert identity(metadata.url) == CloudIdentity(
        provider="gcp",
        instance_id="4520031799277581759",
        instance_type="a3-highgpu-8g",
        region="us-central1",
        zone="us-central1-a",
        capacity_type="on_demand",
        account="example.com:fleet",
    )


def test_each_question_bears_the_flavor_and_none_asks_for_the_whole_tree(metadata):
    identity(metadata.url)
    assert {headers["Metadata-Flavor"] for _asked, headers in metadata.asked} == {"Google"}
    assert {headers["Host"] for _asked, headers in metadata.asked} == {"metadata.google.internal"}
    assert not any("recursive" in asked for asked, _headers in metadata.asked)


@pytest.mark.parametrize(
    ("model", "preemptible", "capacity"),
    [
        (None, "TRUE", "spot"),
        ("SPOT", "TRUE", "spot"),
        ("SPOT", None, "spot"),
        ("STANDARD", "FALSE", "on_demand"),
        ("RESERVATION_BOUND", "FALSE", "on_demand"),
        ("STANDARD", None, "on_demand"),
        (None, None, None),
    ],
)
def test_scheduling_gives_the_capacity_type(metadata, model, preemptible, capacity):
    paths = {"provisioning-model": model, "preemptible": preemptible}
    for path, said in paths.items():
        metadata.answers[f"{ROOT}instance/scheduling/{path}"] = page(said) if said else (404, {}, "")
    assert identity(metadata.url).capacity_type == capacity


def test_an_answer_without_googles_header_is_refused(metadata):
    metadata.answers[ROOT + "instance/zone"] = (200, {}, "projects/123456/zones/us-central1-a")
    with pytest.raises(Unavailable, match="without its header Metadata-Flavor"):
        identity(metadata.url)


@pytest.mark.parametrize("path", ["instance/id", "instance/machine-type", "instance/zone", "project/project-id"])
def test_garbage_is_refused(metadata, path):
    metadata.answers[ROOT + path] = page("<html>sign in</html>")
    with pytest.raises(Unavailable, match="captive portal"):
        identity(metadata.url)


def test_a_silent_server_is_unavailable_with_the_remedy(closed_port):
    with pytest.raises(Unavailable, match=r"Google Cloud metadata server .* did not answer .*network policy"):
        identity(closed_port)
