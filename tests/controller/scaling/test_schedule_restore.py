"""`wattledger schedule restore` on a real API server: everything back, whatever happens on the way."""

import json
import os
import subprocess
import sys

import pytest

from collectors.clock import SystemClock
from controller.scaling.left_down import tell_left_down
from controller.scaling.queue_mark import LABEL, MARK, OURS, Mark
from controller.scaling.record import COMMAND, RECORD
from controller.scaling.registry import KINDS
from tests.api_proxy import Fault
from tests.controller.scaling.kind_objects import OBJECTS
from tests.controller.scaling.schedule_rig import Home, environ, run


@pytest.fixture(scope="module")
def server(api_server):
    api_server.install_crds()
    return api_server


@pytest.fixture
def home(server, namespace):
    return Home(server, namespace)


def restore(home, *arguments, **reached):
    return run(home.server, "restore", "--namespace", home.name, *arguments, **reached)


def down(home, kind="Deployment"):
    """One object that is down; how it stood."""
    home.make(OBJECTS[kind])
    before = home.standing(kind)
    home.put_down(kind)
    assert home.standing(kind) != before
    return before


def test_every_kind_comes_back_as_it_was_and_nothing_of_ours_stays(home):
    before = {kind.name: down(home, kind.name) for kind in KINDS}
    done = restore(home)
    assert done.exit_code == 0, done.output
    assert {kind.name: home.standing(kind.name) for kind in KINDS} == before
    lines = done.output.splitlines()
    assert f"restored: Deployment {home.name}/llama: it is replicas=3 again" in lines
    assert lines[-1] == f"{len(KINDS)} of {len(KINDS)} objects are back"


def test_a_controller_without_schedules_tells_what_a_former_one_left_down(home, caplog):
    down(home)
    assert [str(ref) for ref in tell_left_down(home.server.client(), SystemClock(), home.name)] == [
        f"Deployment {home.name}/llama"
    ]
    assert "bring them back with `wattledger schedule restore --all`" in caplog.text
    caplog.clear()
    restore(home)
    assert tell_left_down(home.server.client(), SystemClock(), home.name) == ()
    assert caplog.text == ""


def test_a_controller_without_schedules_tells_of_bounds_that_a_former_one_moved(home):
    mark = Mark((1, 2), (1, 8), 2, of=f"{home.name}/llama").write()
    home.make(OBJECTS["ScaledObject"], annotations={MARK: mark}, labels={LABEL: OURS})
    assert [str(ref) for ref in tell_left_down(home.server.client(), SystemClock(), home.name)] == [
        f"ScaledObject {home.name}/llama"
    ]


def test_a_second_time_nothing_is_left_to_do(home):
    down(home)
    assert restore(home).exit_code == 0
    version = home.item("Deployment")["metadata"]["resourceVersion"]
    again = restore(home)
    assert (again.exit_code, again.output) == (0, "nothing is down\n")
    assert home.item("Deployment")["metadata"]["resourceVersion"] == version


def test_all_namespaces_are_restored_with_all(home):
    before = down(home)
    assert f"restored: Deployment {home.name}/llama" in run(home.server, "restore", "--all").output
    assert home.standing("Deployment") == before


def test_neither_all_nor_a_namespace_is_refused(server):
    done = run(server, "restore")
    assert done.exit_code == 2
    assert "give --all, or --namespace NS" in done.stderr


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(home, proxy):
    down(home)
    stood = home.item("Deployment")
    done = restore(home, "--dry-run", url=proxy.url)
    assert done.exit_code == 0
    assert done.output == f"would restore: Deployment {home.name}/llama: would be replicas=3 again\n"
    assert {request.method for request in proxy.requests} == {"GET"}
    assert home.item("Deployment") == stood


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=409),
        Fault(status=500),
        Fault(status=429, retry_after="1"),
        Fault(cut="at once"),
        Fault(forward=True, cut="at once"),
    ],
    ids=["conflict", "error", "busy", "cut before", "cut after"],
)
def test_a_write_that_fails_is_looked_at_anew_until_it_is_back(home, proxy, fault):
    before = down(home)
    proxy.fail_where(lambda request: request.write, fault, times=2)
    done = restore(home, url=proxy.url)
    assert done.exit_code == 0, done.output
    assert home.standing("Deployment") == before


def test_what_somebody_changed_meanwhile_stays_theirs(home):
    down(home)
    home.server.patch(home.path("Deployment"), {"spec": {"replicas": 5}})
    done = restore(home)
    assert done.exit_code == 0
    assert f"left: Deployment {home.name}/llama: somebody changed it" in done.output
    item = home.item("Deployment")
    assert item["spec"]["replicas"] == 5
    assert not {RECORD, COMMAND} & item["metadata"]["annotations"].keys()


def test_a_record_edited_to_nonsense_is_left_and_the_command_on_the_object_is_told(home):
    down(home)
    down(home, "CronJob")
    home.server.patch(home.path("Deployment"), {"metadata": {"annotations": {RECORD: "three"}}})
    done = restore(home)
    assert done.exit_code == 1
    assert f"FAILED: Deployment {home.name}/llama: " in done.output
    assert f"by hand: kubectl scale --replicas=3 -n {home.name} deployments.apps/llama" in done.output
    assert home.item("Deployment")["spec"]["replicas"] == 0
    assert f"restored: CronJob {home.name}/llama" in done.output
    assert done.output.splitlines()[-1] == "1 of 2 objects are back"


def test_an_object_that_cannot_be_read_any_more_is_told(home):
    down(home, "ScaledObject")
    paused = {"autoscaling.keda.sh/paused-replicas": "none at all"}
    home.server.patch(home.path("ScaledObject"), {"metadata": {"annotations": paused}})
    done = restore(home)
    assert done.exit_code == 1
    assert f"FAILED: ScaledObject {home.name}/llama: it bears a record and cannot be read" in done.output
    assert done.output.splitlines()[-1] == "0 of 1 objects are back"


def test_a_right_that_is_missing_for_one_kind_leaves_the_others_and_is_told(home):
    before = down(home)
    down(home, "Notebook")
    everything = [{"apiGroups": ["*"], "resources": ["deployments", "deployments/scale"], "verbs": ["*"]}]
    home.server.grant("scaler", everything)
    done = restore(home, user="scaler")
    assert done.exit_code == 1
    assert home.standing("Deployment") == before
    assert "FAILED: Notebook: it is not known whether any is down" in done.output
    assert f"kubectl get notebooks.kubeflow.org -n {home.name}" in done.output


def test_a_right_to_write_that_is_missing_ends_with_the_command(home):
    down(home)
    home.server.grant("scaler", [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]}])
    done = restore(home, user="scaler")
    assert done.exit_code == 1
    assert f"FAILED: Deployment {home.name}/llama: " in done.output
    assert "kubectl scale --replicas=3" in done.output


def test_waiting_ends_when_the_pods_are_ready_and_not_before(home):
    down(home)
    late = restore(home, "--wait", "1")
    assert late.exit_code == 1
    assert "not Ready: " in late.output
    assert "0 of 3 pods are Ready" in late.output
    item = home.item("Deployment")
    assert item["spec"]["replicas"] == 3
    assert json.loads(item["metadata"]["annotations"][RECORD])["restoring"]
    ready = {"observedGeneration": item["metadata"]["generation"], "replicas": 3, "updatedReplicas": 3}
    status = {"status": {**ready, "readyReplicas": 3, "availableReplicas": 3}}
    home.server.client().patch(home.path("Deployment"), status, subresource="status")
    done = restore(home, "--wait", "1")
    assert done.exit_code == 0, done.output
    assert RECORD not in home.item("Deployment")["metadata"]["annotations"]


def test_schedules_that_are_enabled_are_warned_of(home, tmp_path):
    down(home)
    config = tmp_path / "c.yaml"
    config.write_text("schedule: {enabled: true}\n")
    done = restore(home, "--config", str(config))
    assert "a controller that runs may put things down again" in done.stderr
    assert done.exit_code == 0


def test_without_a_server_it_ends_with_1_and_one_line(tmp_path):
    class Nowhere:
        url = "https://127.0.0.1:9"
        ca = tmp_path / "ca"

        @staticmethod
        def token_file(_user):
            return tmp_path / "token"

    (tmp_path / "token").write_text("t")
    done = run(Nowhere, "restore", "--all", url="http://127.0.0.1:9")
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: ")


def test_as_a_process_without_a_configuration_file(home, tmp_path):
    before = down(home)
    command = [sys.executable, "-c", "from cli.main import main; main()", "schedule", "restore", "-n", home.name]
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={"PYTHONPATH": path, **environ(home.server)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "1 of 1 objects are back"
    assert home.standing("Deployment") == before
