"""A schedule on a real cluster: real pods go and come back Ready, in peace with the real autoscaler's controller."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.cluster.cluster import AGENT_NAMESPACE
from tests.cluster.pods import container
from tests.integration.agent_process import AgentProcess, eventually
from tests.integration.test_schedule import done

ACCOUNT, SPACE = "scaler", "dev-nights"
RECORD = "wattledger.io/schedule-original"
WATCHED = ["get", "list", "watch"]
RULES = [
    {"apiGroups": [""], "resources": ["namespaces", "nodes", "pods"], "verbs": WATCHED},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
    {"apiGroups": ["apps"], "resources": ["deployments", "statefulsets"], "verbs": [*WATCHED, "patch"]},
    {"apiGroups": ["apps"], "resources": ["deployments/scale", "statefulsets/scale"], "verbs": ["patch"]},
    {"apiGroups": ["batch"], "resources": ["cronjobs", "jobs"], "verbs": [*WATCHED, "patch"]},
    {"apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers"], "verbs": [*WATCHED, "patch"]},
]
"""All that scaling these kinds takes."""
NIGHT_SECONDS = 75
SECONDS = 120


@pytest.fixture(scope="module")
def token(cluster):
    named, rbac = {"metadata": {"name": ACCOUNT}}, "/apis/rbac.authorization.k8s.io/v1"
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ACCOUNT}
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": AGENT_NAMESPACE}
    accounts = f"/api/v1/namespaces/{AGENT_NAMESPACE}/serviceaccounts"
    cluster.admin.post(accounts, named)
    cluster.admin.post(f"{rbac}/clusterroles", named | {"rules": RULES})
    cluster.admin.post(f"{rbac}/clusterrolebindings", named | {"roleRef": role, "subjects": [subject]})
    yield cluster.admin.post(f"{accounts}/{ACCOUNT}/token", {"spec": {"expirationSeconds": 3600}})["status"]["token"]
    for path in (f"{rbac}/clusterrolebindings", f"{rbac}/clusterroles", accounts):
        cluster.admin.delete(f"{path}/{ACCOUNT}")


class Dev:
    """A namespace with one workload of each built-in kind."""

    def __init__(self, cluster):
        self.admin = cluster.admin
        self.admin.post("/api/v1/namespaces", {"metadata": {"name": SPACE}})
        self.apps = f"/apis/apps/v1/namespaces/{SPACE}"
        self.batch = f"/apis/batch/v1/namespaces/{SPACE}"
        self.scalers = f"/apis/autoscaling/v2/namespaces/{SPACE}/horizontalpodautoscalers"
        self.replicated("deployments", "web", 2)
        self.replicated("deployments", "chat", 3)
        self.replicated("deployments", "demo", 3, {"wattledger.io/schedule-to": "1"})
        self.replicated("statefulsets", "store", 1, serviceName="store")
        self.autoscaled("chat")
        self.autoscaled("demo")
        once = {"template": {"spec": {**pod_spec(), "restartPolicy": "Never"}}}
        report = {"metadata": {"name": "report"}, "spec": {"schedule": "0 3 1 1 *", "jobTemplate": {"spec": once}}}
        self.admin.post(f"{self.batch}/cronjobs", report)
        saves = {"name": "train", "annotations": {"wattledger.io/checkpoint": "true"}}
        self.admin.post(f"{self.batch}/jobs", {"metadata": saves, "spec": {"parallelism": 2, **once}})

    def replicated(self, plural, name, replicas, annotations=None, **spec):
        labels = {"app": name}
        template = {"metadata": {"labels": labels}, "spec": pod_spec()}
        spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template, **spec}
        item = {"metadata": {"name": name, "annotations": annotations or {}}, "spec": spec}
        self.admin.post(f"{self.apps}/{plural}", item)

    def autoscaled(self, name):
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        usage = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
        spec = {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 4}
        spec["metrics"] = [{"type": "Resource", "resource": usage}]
        self.admin.post(self.scalers, {"metadata": {"name": name}, "spec": spec})

    def ready(self):
        """How many pods of each workload are Ready."""
        found = {item["metadata"]["name"]: item for item in self.all()}
        return {name: item["status"].get("readyReplicas", 0) for name, item in found.items()}

    def training(self):
        """Whether the Job is suspended, its pods that are Ready, and all that there are."""
        job = self.admin.get(f"{self.batch}/jobs/train")
        pods = self.admin.get(f"/api/v1/namespaces/{SPACE}/pods?labelSelector=job-name=train")["items"]
        return job["spec"]["suspend"], job["status"].get("ready", 0), len(pods)

    def all(self):
        return [
            item for kind in ("deployments", "statefulsets") for item in self.admin.get(f"{self.apps}/{kind}")["items"]
        ]

    def bounds(self, name):
        spec = self.admin.get(f"{self.scalers}/{name}")["spec"]
        return spec["minReplicas"], spec["maxReplicas"]

    def suspended(self):
        return self.admin.get(f"{self.batch}/cronjobs/report")["spec"]["suspend"]

    def marked(self):
        items = [
            *self.all(),
            *self.admin.get(self.scalers)["items"],
            *self.admin.get(f"{self.batch}/cronjobs")["items"],
            *self.admin.get(f"{self.batch}/jobs")["items"],
        ]
        return {item["metadata"]["name"] for item in items if RECORD in item["metadata"].get("annotations", {})}


def pod_spec():
    return {
        "containers": [container()],
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
    }


@pytest.fixture
def dev(cluster):
    dev = Dev(cluster)
    eventually("all run", lambda: dev.ready() == {"web": 2, "chat": 3, "demo": 3, "store": 1}, SECONDS, every=0.5)
    eventually("the Job runs", lambda: dev.training() == (False, 2, 2), SECONDS, every=0.5)
    yield dev
    cluster.admin.delete(f"/api/v1/namespaces/{SPACE}")


@pytest.fixture
def controller(cluster, token, dev, tmp_path):
    (tmp_path / "token").write_text(token)
    begin = datetime.now(UTC) + timedelta(seconds=5)
    night = f"{begin.isoformat()}-{(begin + timedelta(seconds=NIGHT_SECONDS)).isoformat()}"
    policy = {"name": "nights", "namespaces": [SPACE], "gpu_only": False, "grace_minutes": 0, "down": night}
    kubernetes = {"mode": "on", "api_url": cluster.api_url, "ca_file": str(cluster.ca)}
    config = {
        "kubernetes": {**kubernetes, "token_file": str(tmp_path / "token")},
        "controller": {"agents": {"discovery": "off", "urls": ["http://127.0.0.1:9"]}, "lease": {"mode": "off"}},
        "schedule": {
            "enabled": True,
            "dry_run": False,
            "tick_seconds": 1,
            "lead_least_seconds": 10,
            "policies": [policy],
        },
    }
    with AgentProcess(tmp_path / "controller", command=("controller",), config=config) as running:
        yield running


def test_a_night_on_a_real_cluster_leaves_everything_as_it_was_and_ready(dev, controller):
    down = {"web": 0, "chat": 0, "demo": 1, "store": 0}
    eventually("all are down", lambda: dev.ready() == down and dev.suspended(), SECONDS, every=0.3)
    assert dev.bounds("demo") == (1, 1)
    assert dev.bounds("chat") == (2, 4)
    eventually("the Job's pods are gone", lambda: dev.training() == (True, 0, 0), SECONDS, every=0.3)
    up = {"web": 2, "chat": 3, "demo": 2, "store": 1}
    eventually("all are back and Ready", lambda: dev.ready() == up and not dev.marked(), SECONDS, every=0.5)
    assert (dev.bounds("demo"), dev.bounds("chat"), dev.suspended()) == ((2, 4), (2, 4), False)
    assert dev.training() == (False, 2, 2)
    names = ("chat", "demo", "report", "store", "train", "web")
    expected = sorted((name, action) for name in names for action in ("down", "restore", "finish"))
    # an object is finished first, then its row is written
    eventually("all is on record", lambda: len(done(controller)) >= len(expected), SECONDS, every=0.3)
    assert done(controller) == expected
