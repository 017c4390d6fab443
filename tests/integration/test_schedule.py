"""`wattledger controller` scales by schedule: a real process and API server, one window from begin to end."""

import json
import os
from datetime import UTC, datetime, timedelta

import pytest

from tests.cluster.api_only import ApiServer
from tests.cluster.standing import standing
from tests.cluster.waiting import wait_until
from tests.integration.agent_process import AgentProcess, fetch
from tests.integration.test_books import api_of, ask

RECORD, COMMAND = "wattledger.io/schedule-original", "wattledger.io/schedule-restore-command"
TEMPLATE = {"spec": {"containers": [{"name": "main", "image": "registry.example/web:1"}]}}
DEPLOYMENT = {
    "metadata": {"name": "web", "labels": {"owner": "ann"}},
    "spec": {
        "replicas": 3,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, **TEMPLATE},
    },
}
CRON_JOB = {
    "metadata": {"name": "report"},
    "spec": {
        "schedule": "0 3 * * *",
        "jobTemplate": {"spec": {"template": {"spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}}},
    },
}


@pytest.fixture(scope="module")
def api():
    with standing(ApiServer.up) as server:
        yield server


class Workloads:
    """A Deployment and a CronJob in a namespace of their own; the test is their controller."""

    def __init__(self, api):
        self.api = api
        self.namespace = api.make_namespace()
        self.web = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/web"
        self.report = f"/apis/batch/v1/namespaces/{self.namespace}/cronjobs/report"
        api.admin.post(self.web.rpartition("/")[0], DEPLOYMENT)
        api.admin.post(self.report.rpartition("/")[0], CRON_JOB)
        self.run_pods()

    def run_pods(self):
        """All that are asked for are Ready."""
        item = self.api.admin.get(self.web)
        names = ("replicas", "readyReplicas", "updatedReplicas", "availableReplicas")
        counts = dict.fromkeys(names, item["spec"]["replicas"])
        status = {"observedGeneration": item["metadata"]["generation"], **counts}
        self.api.client().patch(self.web, {"status": status}, subresource="status")

    def levers(self):
        return self.api.admin.get(self.web)["spec"]["replicas"], self.api.admin.get(self.report)["spec"]["suspend"]

    def marks(self, path):
        return self.api.admin.get(path)["metadata"].get("annotations", {}).keys() & {RECORD, COMMAND}

    def reasons(self):
        events = self.api.admin.get(f"/api/v1/namespaces/{self.namespace}/events")["items"]
        return {(event["involvedObject"]["name"], event["reason"]) for event in events}


@pytest.fixture
def workloads(api):
    return Workloads(api)


@pytest.fixture
def controller(api, tmp_path):
    """``controller(schedule)``: a controller with that section, at a ledger of its own."""
    begun = []

    def begin(**schedule):
        kubernetes = {"mode": "on", "api_url": api.url, "token_file": str(api.token_file()), "ca_file": str(api.ca)}
        agents = {"discovery": "off", "urls": ["http://127.0.0.1:9"]}
        settings = {
            "kubernetes": kubernetes,
            "controller": {"agents": agents, "lease": {"mode": "off"}},
            "schedule": {"enabled": True, "tick_seconds": 1, "lead_least_seconds": 2, **schedule},
        }
        begun.append(AgentProcess(tmp_path / "controller", command=("controller",), config=settings))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()


def window(seconds_until, seconds_long):
    begin = datetime.now(UTC) + timedelta(seconds=seconds_until)
    return f"{begin.isoformat()}-{(begin + timedelta(seconds=seconds_long)).isoformat()}"


def policy(workloads, spec, **more):
    return {"name": "nights", "namespaces": [workloads.namespace], "gpu_only": False, "grace_minutes": 0, **more} | spec


def test_a_window_puts_workloads_down_and_gives_them_back_and_all_of_it_is_told(workloads, controller):
    running = controller(dry_run=False, policies=[policy(workloads, {"down": window(0, 45)})])
    wait_until(lambda: workloads.levers() == (0, True), 40, "both to be down")
    assert workloads.marks(workloads.web) == workloads.marks(workloads.report) == {RECORD, COMMAND}
    workloads.run_pods()
    wait_until(lambda: workloads.levers() == (3, False), 60, "both to come back")
    workloads.run_pods()
    wait_until(lambda: not workloads.marks(workloads.web), 60, "the Deployment to be Ready")
    wanted = {("web", reason) for reason in ("ScheduledDown", "ScheduledRestore", "ScheduledReady")}
    wait_until(lambda: wanted <= workloads.reasons(), 60, "Events of all three")
    expected = sorted((name, act) for name in ("web", "report") for act in ("down", "restore", "finish"))
    # an object is finished first, then its row is written
    wait_until(lambda: len(done(running)) >= len(expected), 60, "all to be on record")
    assert done(running) == expected


def done(running):
    return sorted((row["name"], row["action"]) for row in audit(running) if row["result"] == "done")


def audit(running):
    rows = ask(f"{api_of(running)}/audit")["audit"]
    return [row for row in rows if row["phase"] == "result"]


def test_by_default_nothing_is_touched_and_what_would_be_is_told(workloads, controller):
    running = controller(policies=[policy(workloads, {"down": "always"})])
    wait_until(lambda: {row["name"] for row in audit(running)} == {"web", "report"}, 60, "the dry run to be told")
    assert all(row["dry_run"] for row in audit(running))
    assert workloads.levers() == (3, False)
    assert workloads.marks(workloads.web) == set()
    assert 'wattledger_schedule_dry_run{policy="nights"} 1' in fetch(
        api_of(running).removesuffix("/api/v1") + "/metrics"
    )


def test_policies_are_followed_while_it_runs_and_a_mistake_leaves_the_last_good_ones_in_force(workloads, controller):
    running = controller(dry_run=False)
    wait_until(lambda: policies_up(running) == "1", 60, "the controller to look")
    edit(running, policies=[policy(workloads, {"down": "always"})])
    wait_until(lambda: workloads.levers() == (0, True), 60, "both to be down by a policy that is new")
    edit(running, policies=[policy(workloads, {"down": "Mon-Fry"})])
    wait_until(lambda: policies_up(running) == "0", 60, "the mistake to be told")
    assert workloads.levers() == (0, True)
    assert running.said.count("is refused: ") == running.said.count("schedule.policies[0].down: found") == 1
    edit(running, policies=[])
    wait_until(lambda: workloads.levers() == (3, False), 60, "both to come back when their policy is gone")
    assert policies_up(running) == "1"


def edit(running, **schedule):
    """Its configuration file says something else, all at once."""
    file = running.folder / f"{running.log.name}.yaml"
    settings = json.loads(file.read_text())
    settings["schedule"] |= schedule
    other = file.with_suffix(".new")
    other.write_text(json.dumps(settings))
    os.replace(other, file)  # noqa: PTH105  (whole, as an editor does it)


def policies_up(running):
    page = fetch(api_of(running).removesuffix("/api/v1") + "/metrics")
    found = [line.split()[1] for line in page.splitlines() if line.startswith("wattledger_schedule_policies_up ")]
    return found[0] if found else None
