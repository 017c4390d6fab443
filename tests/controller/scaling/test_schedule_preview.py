"""`wattledger schedule preview` on a real API server: says what would be done, and does nothing."""

import json
import os
import subprocess
import sys
from collections import Counter

import pytest
from click.testing import CliRunner

from cli.main import main
from controller.scaling.record import RECORD
from tests.controller.scaling.kind_objects import OBJECTS, an, merged
from tests.controller.scaling.schedule_rig import Home, environ, run

POLICIES = """
schedule:
  enabled: true
  dry_run: false
  timezone: Europe/Berlin
  policies:
    - {name: nights, namespaces: ["t-*"], down: "Mon-Fri 20:00-07:00, Sat-Sun"}
    - {name: tokyo, namespaces: ["t-*"], kinds: [Notebook], down: "Mon-Fri 19:00-08:00 Asia/Tokyo"}
"""
# of a year in which nothing that a test makes is young any more
NOON, NIGHT = "2037-11-25T12:00:00+01:00", "2037-11-25T22:00:00+01:00"
TRACKING = "argocd.argoproj.io/tracking-id"


@pytest.fixture(scope="module")
def server(api_server):
    api_server.install_crds()
    return api_server


@pytest.fixture
def home(server, namespace):
    return Home(server, namespace)


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "wattledger.yaml"
    file.write_text(POLICIES)
    return file


@pytest.fixture
def preview(home, config):
    def look(*arguments, at=NIGHT, **reached):
        said = ("preview", "--config", str(config), "--namespace", home.name, "--at", at, *arguments)
        done = run(home.server, *said, **reached)
        assert done.exit_code == 0, done.output
        return done.output

    return look


@pytest.fixture
def rows(preview):
    """The rows of the JSON by kind."""

    def look(**more):
        found = json.loads(preview("-o", "json", **more))
        return {row["workload"]["kind"]: row for row in found["workloads"]}

    return look


def test_it_makes_one_list_of_each_kind_and_touches_nothing(home, preview, proxy):
    home.make(OBJECTS["Deployment"])
    stood = home.item("Deployment")
    preview(url=proxy.url)
    assert {request.method for request in proxy.requests} == {"GET"}
    lists = Counter(request.path for request in proxy.requests if home.name in request.path)
    assert lists[f"/apis/apps/v1/namespaces/{home.name}/deployments"] == 1
    assert set(lists.values()) == {1}
    assert proxy.watches == []
    assert home.item("Deployment") == stood


def test_what_goes_down_now_and_when_it_comes_back(home, rows):
    home.make(OBJECTS["Deployment"])
    row = rows()["Deployment"]
    assert (row["policy"], row["wished"], row["step"], row["size"], row["gpus"]) == ("nights", "down", "down", "0", 2)
    assert row["next_change"] == {"begin": "2037-11-26T06:00:00Z", "wished": "up"}
    assert row["refusals"] == []


def test_by_day_the_next_down_is_asked_about(home, rows):
    home.make(OBJECTS["Job"])
    row = rows(at=NOON)["Job"]
    assert (row["step"], row["next_down"]) == ("nothing", "2037-11-25T19:00:00Z")
    assert [each["guard"] for each in row["refusals"]] == ["state_loss"]


def test_a_time_ahead_of_the_objects_age_is_what_the_young_are_measured_by(home, rows):
    home.make(OBJECTS["Deployment"])
    young = rows(at="2026-01-07T22:00:00+01:00")["Deployment"]
    assert [each["guard"] for each in young["refusals"]] == ["young"]
    assert young["step"] == "down, refused"


def test_times_are_of_the_policys_zone(home, preview, config):
    config.write_text(POLICIES.replace("name: nights, ", "name: nights, kinds: [Job], "))
    home.make(OBJECTS["Notebook"])
    told = " ".join(preview(at=NOON).split())
    assert "Asia/Tokyo" in told
    assert "up Thu 26 Nov 08:00" in told


def test_policies_that_disagree_are_named_with_the_rule(home, preview, rows):
    home.make(OBJECTS["Notebook"])
    assert rows(at=NOON)["Notebook"]["disagree"] == ["tokyo"]
    told = preview(at=NOON)
    assert "nights decides; otherwise would have it: tokyo" in told
    assert "where policies disagree: a workload's own annotation stands above its namespace's" in told


def test_an_annotation_that_does_not_parse_is_told_with_the_place_marked(home, preview):
    home.make(OBJECTS["Deployment"], annotations={"wattledger.io/schedule-down": "Mon-Fri 25:00-07:00"})
    told = preview().splitlines()
    at = next(number for number, line in enumerate(told) if line.startswith("  unclear: "))
    assert "there is no 25:00" in told[at]
    assert told[at + 1 : at + 3] == ["    Mon-Fri 25:00-07:00", "            ^^^^^"]


def test_a_workload_that_is_excluded_is_shown_as_it_is_left(home, rows):
    home.make(OBJECTS["Deployment"], annotations={"wattledger.io/schedule-exclude": "true"})
    row = rows()["Deployment"]
    assert (row["wished"], row["step"], row["next_down"]) == ("none", "nothing", None)
    assert "excluded" in row["why"]


def test_who_is_excluded_by_the_policy_is_told_apart_from_the_others(home, preview, config):
    config.write_text(POLICIES.replace("name: nights, ", 'name: nights, exclude: ["*/mistral"], '))
    home.make(OBJECTS["Deployment"])
    home.make(an("Deployment"), name="mistral")
    told = preview("--days", "2", at=NOON).splitlines()
    assert "  nothing is wished: nights: excluded (*/mistral)" in told
    assert f"nights: Deployment {home.name}/llama, 2 GPUs    ░░░▒██████░░ ░░░▒██████░░" in told
    assert f"nights: Deployment {home.name}/mistral, 2 GPUs  ············ ············" in told


def test_contested_and_broken_records_are_told(home, preview):
    home.make(OBJECTS["Deployment"])
    home.make(OBJECTS["StatefulSet"])
    for kind in ("Deployment", "StatefulSet"):
        home.put_down(kind)
    record = json.loads(home.item("Deployment")["metadata"]["annotations"][RECORD])
    often = json.dumps({**record, "reverts": 2, "window": "2037-11-25T19:00:00+00:00"})
    home.server.patch(home.path("Deployment"), {"spec": {"replicas": 3}, "metadata": {"annotations": {RECORD: often}}})
    home.server.patch(home.path("StatefulSet"), {"metadata": {"annotations": {RECORD: "?"}}})
    told = preview()
    assert "  contested: somebody put it back 3 times in this window" in told
    assert f"  broken: StatefulSet {home.name}/llama: the annotation {RECORD} is not as it was written" in told


def test_what_bears_a_record_though_no_policy_concerns_it_comes_back(home, preview, config):
    config.write_text("schedule: {enabled: true}\n")
    home.make(OBJECTS["Deployment"])
    home.put_down("Deployment")
    assert f"  restore of Deployment {home.name}/llama: no policy concerns it" in preview()


def test_a_size_that_a_kind_cannot_have_is_told(home, preview, config):
    config.write_text(POLICIES.replace("name: nights, ", "name: nights, to: 1, "))
    home.make(OBJECTS["CronJob"])
    assert "would stay as it is at Wed 25 Nov 20:00 Europe/Berlin: a CronJob runs or does not" in preview(at=NOON)


def test_gitops_tools_and_their_rules_are_told(home, preview):
    home.make(OBJECTS["Deployment"], annotations={TRACKING: f"shop:apps/Deployment:{home.name}/llama"})
    told = preview(at=NOON)
    assert "kept as Git has it by ArgoCD Application shop; it needs the rule below" in told
    assert "RespectIgnoreDifferences=true" in told
    assert "- /spec/replicas" in told


def test_a_dry_run_and_schedules_that_are_off_are_told(home, preview, config):
    home.make(OBJECTS["Deployment"])
    config.write_text(POLICIES.replace("dry_run: false", "dry_run: true").replace("enabled: true", "enabled: false"))
    told = preview()
    assert "nights (dry run)" in told
    assert "schedule.enabled is false: nothing of this happens before it is true" in told


def test_what_kube_downscaler_left_down_is_told_before_it_is_taken_over(home, preview, config):
    home.make(an("Deployment", replicas=0), annotations={"downscaler/original-replicas": "3"})
    left = "kube-downscaler left it down: once dry_run is false it is replicas=3 again when it is to be up"
    assert left not in preview(at=NOON)
    config.write_text(POLICIES.replace("dry_run: false", "dry_run: true"))
    assert left in preview(at=NOON)


def test_the_picture_has_a_row_for_all_that_are_alike(home, preview):
    home.make(OBJECTS["Deployment"])
    home.make(an("Deployment"), name="mistral")
    told = preview("--days", "2", at=NOON).splitlines()
    assert "days of Europe/Berlin" in told
    assert "nights: 2 workloads, 4 GPUs  ░░░▒██████░░ ░░░▒██████░░" in told


def test_kinds_that_may_not_be_seen_and_objects_that_cannot_be_read_are_told(home, preview):
    home.make(OBJECTS["Deployment"])
    home.make(OBJECTS["ScaledObject"], annotations={"autoscaling.keda.sh/paused-replicas": "some"})
    kinds = ["deployments", "scaledobjects", "pods", "namespaces", "nodes"]
    home.server.grant("scaler", [{"apiGroups": ["*"], "resources": kinds, "verbs": ["get", "list"]}])
    told = preview(user="scaler")
    assert "not seen: Notebook: " in told
    assert f"left alone: ScaledObject {home.name}/llama: " in told
    assert f"Deployment {home.name}/llama" in told


def test_a_namespace_that_is_none_is_refused(home, config):
    done = run(home.server, "preview", "--config", str(config), "--namespace", "no-such")
    assert done.exit_code == 2
    assert "there is no namespace 'no-such'" in done.stderr


def test_without_an_api_server_the_remedy_is_told(tmp_path, monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    done = CliRunner().invoke(main, ["schedule", "preview"])
    assert done.exit_code == 2
    assert "kubectl proxy" in done.stderr


def test_as_a_process_it_prints_plain_text(home, config):
    home.make(OBJECTS["Deployment"])
    said = ["schedule", "preview", "--config", str(config), "--namespace", home.name, "--at", NOON]
    done = subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main()", *said],
        env={"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "utf-8", **environ(home.server)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert f"nights: Deployment {home.name}/llama, 2 GPUs" in done.stdout


def test_gpus_that_pods_ask_for_by_claims_are_counted(home, rows):
    spec = {"containers": [{"name": "main", "image": "i"}]}
    spec |= {"resourceClaims": [{"name": "gpus", "resourceClaimTemplateName": "eight"}]}
    home.make(merged(OBJECTS["Deployment"], {"spec": {"template": {"spec": spec}}}))
    assert rows()["Deployment"]["gpus"] == 1
    requests = [{"name": "all", "exactly": {"deviceClassName": "gpu.nvidia.com", "count": 8}}]
    home.server.admin.post(
        f"/apis/resource.k8s.io/v1/namespaces/{home.name}/resourceclaimtemplates",
        {"metadata": {"name": "eight"}, "spec": {"spec": {"devices": {"requests": requests}}}},
    )
    assert rows()["Deployment"]["gpus"] == 8
    home.server.admin.delete(home.path("Deployment"))
