"""The ScaledObject: bounds by the clock, queries that real Prometheus reads, an object that a real API server takes."""

import subprocess
from datetime import UTC, datetime

import pytest
import yaml
from pydantic import ValidationError

from controller.scaling.queue_scaling import NoPrometheus, bounds_at, bounds_patch, queries, scaled_object
from controller.scaling.queue_settings import QueueScaling, QueueScalingSettings
from tests.alerts.promtool import MINUTES, constant, growing
from tests.cluster.api import ApiError

DAY = {"when": "Mon-Fri 07:30-20:30 Europe/Berlin", "min_replicas": 2, "max_replicas": 8}
BASE = {"namespace": "ml", "name": "chat", "min_replicas": 1, "max_replicas": 4, "windows": [DAY]}
WAKE = 'gateway_requests_in_flight{route="chat"}'
FULL = {**BASE, "min_replicas": 0, "ttft_p95_seconds": 1.5, "active_ratio": 0.7, "wake_query": WAKE}
MONDAY_NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SATURDAY = datetime(2026, 11, 28, 12, tzinfo=UTC)
HOLDERS = [{"node": node, "namespace": "ml", "pod": f"chat-{node}", "container": "c"} for node in ("a", "b")]
OTHER = {"node": "a", "namespace": "ml", "pod": "other", "container": "c"}

SPEC = {
    "scaleTargetRef": {"apiVersion", "kind", "name", "envSourceContainerName"},
    "advanced": {"restoreToOriginalReplicaCount", "horizontalPodAutoscalerConfig", "scalingModifiers"},
    **dict.fromkeys(
        (
            "pollingInterval",
            "cooldownPeriod",
            "initialCooldownPeriod",
            "idleReplicaCount",
            "minReplicaCount",
            "maxReplicaCount",
            "fallback",
            "triggers",
        )
    ),
}
TRIGGER = {"type", "name", "metricType", "metadata", "authenticationRef", "useCachedMetrics"}
METADATA = {
    "serverAddress", "query", "threshold", "activationThreshold", "namespace", "customHeaders", "queryParameters",
    "ignoreNullValues", "unsafeSsl", "authModes", "timeout",
}  # fmt: skip
"""KEDA's published names."""


def scaling(**more):
    return QueueScaling.model_validate({**BASE, **more})


def settings(*workloads, **more):
    given = {"prometheus_url": "http://prometheus.monitoring:9090", "workloads": list(workloads), **more}
    return QueueScalingSettings.model_validate(given)


@pytest.mark.parametrize(
    ("now", "bounds", "until"),
    [
        (MONDAY_NOON, (2, 8), "2026-11-23T19:30:00+00:00"),
        (SATURDAY, (1, 4), "2026-11-30T06:30:00+00:00"),
        (datetime(2026, 11, 23, 19, 30, tzinfo=UTC), (1, 4), "2026-11-24T06:30:00+00:00"),
    ],
)
def test_the_bounds_are_those_of_the_moment(now, bounds, until):
    found = bounds_at(scaling(), "UTC", now)
    assert (found.least, found.most) == bounds
    assert found.until.astimezone(UTC).isoformat() == until


def test_the_first_window_that_holds_counts_and_may_leave_the_maximum():
    date = {"when": "2026-11-23", "min_replicas": 3}
    found = bounds_at(scaling(windows=[date, DAY]), "UTC", MONDAY_NOON)
    assert (found.least, found.most, found.why) == (3, 4, "in 2026-11-23")
    assert bounds_at(scaling(windows=[]), "UTC", MONDAY_NOON).until is None


def bounds_of(item):
    return item["spec"]["minReplicaCount"], item["spec"]["maxReplicaCount"]


def test_bounds_are_rewritten_at_the_edge_and_only_there():
    item = scaled_object(scaling(), settings(), MONDAY_NOON)
    assert bounds_patch(scaling(), "UTC", bounds_of(item), MONDAY_NOON) is None
    patch = bounds_patch(scaling(), "UTC", bounds_of(item), SATURDAY)
    assert patch == {"spec": {"minReplicaCount": 1, "maxReplicaCount": 4}}
    item["spec"] |= patch["spec"]
    assert bounds_patch(scaling(), "UTC", bounds_of(item), SATURDAY) is None


def test_the_object_has_kedas_names_and_only_text_in_triggers():
    made = scaled_object(
        QueueScaling.model_validate(FULL), settings(authentication="prometheus", tenant="ml"), MONDAY_NOON
    )
    spec = made["spec"]
    assert set(spec) <= set(SPEC)
    assert set(spec["scaleTargetRef"]) <= SPEC["scaleTargetRef"]
    assert set(spec["advanced"]) <= SPEC["advanced"]
    assert [each["name"] for each in spec["triggers"]] == ["waiting", "activity", "latency", "wake"]
    for trigger in spec["triggers"]:
        assert set(trigger) <= TRIGGER
        assert set(trigger["metadata"]) <= METADATA
        assert all(isinstance(value, str) for value in trigger["metadata"].values())
        assert trigger["metadata"]["ignoreNullValues"] == "false"
        assert trigger["metadata"]["customHeaders"] == "X-Scope-OrgID=ml"
        assert trigger["authenticationRef"] == {"kind": "ClusterTriggerAuthentication", "name": "prometheus"}
    assert [(each["metadata"]["threshold"], each["metricType"]) for each in spec["triggers"]] == [
        ("4", "AverageValue"),
        ("0.7", "Value"),
        ("1.5", "Value"),
        ("1", "AverageValue"),
    ]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (2, 8)


def test_without_a_prometheus_it_is_said_what_to_set():
    with pytest.raises(NoPrometheus, match=r"queue_scaling.prometheus_url is not set: name the address"):
        scaled_object(scaling(), settings(prometheus_url=None), SATURDAY)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"min_replicas": 0}, "nothing could wake it"),
        ({"windows": [{**DAY, "min_replicas": 0}]}, "nothing could wake it"),
        ({"min_replicas": 9}, "min_replicas is 9 and max_replicas 4"),
        ({"windows": [{"when": "always", "min_replicas": 5}]}, "min_replicas is 5 and max_replicas 4"),
        ({"windows": [{**DAY, "when": "Mon 25:00-26:00"}]}, "there is no 25:00"),
        ({"namespace": 'ml"} or vector(1) #'}, "namespace"),
        ({"kind": "Job"}, "kind"),
        ({"minimum": 1}, "minimum"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(wrong, said):
    with pytest.raises(ValidationError, match=said):
        settings({**BASE, **wrong})


def test_a_workload_stands_once():
    with pytest.raises(ValidationError, match="ml/chat stands twice"):
        settings(BASE, BASE)


def promtool(require_tool, folder, series, expected):
    """Evaluate queries on real Prometheus: expression to its one value in thousandths, ``None``: no answer."""
    tests = [
        {
            "expr": f"round(1000 * ({query}))",
            "eval_time": f"{MINUTES}m",
            "exp_samples": [] if value is None else [{"labels": "{}", "value": round(1000 * value)}],
        }
        for query, value in expected
    ]
    written = {
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": tests}],
    }
    (folder / "test.yaml").write_text(yaml.safe_dump(written))
    command = [require_tool("promtool"), "test", "rules", "test.yaml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def infos(holders, workload="Deployment/chat"):
    return [constant("wattledger_holder_info", 1, workload=workload, **holder) for holder in holders]


def served(holders, waiting=(3, 5)):
    buckets = {"0.5": 0.5, "1": 0.9, "2": 1.0, "+Inf": 1.0}
    return [
        *(
            constant("wattledger_queue_depth", depth, model="m", **holder)
            for holder, depth in zip(holders, waiting, strict=True)
        ),
        *(
            growing("wattledger_time_to_first_token_seconds_bucket", rate, le=le, model="m", **holder)
            for holder in holders
            for le, rate in buckets.items()
        ),
        *(
            growing("wattledger_account_gpu_seconds_total", rate, account=account, gpu_uuid="g", **holder)
            for holder in holders
            for account, rate in (("active", 0.6), ("idle", 0.2), ("unmeasured", 0.2))
        ),
    ]


@pytest.mark.tool("promtool")
def test_the_queries_are_of_all_pods_of_the_workload_and_of_no_other(require_tool, tmp_path):
    series = [
        *infos(HOLDERS),
        *served(HOLDERS),
        *infos([OTHER], "Deployment/other"),
        *served([OTHER], [99]),
        constant("gateway_requests_in_flight", 7, route="chat", replica="1"),
        constant("gateway_requests_in_flight", 2, route="chat", replica="2"),
    ]
    asked = queries(QueueScaling.model_validate(FULL))
    expected = [(asked["waiting"], 8), (asked["activity"], 0.75), (asked["latency"], 1.5), (asked["wake"], 9)]
    promtool(require_tool, tmp_path, series, expected)


@pytest.mark.tool("promtool")
def test_a_model_of_several_is_told_apart(require_tool, tmp_path):
    series = [*infos(HOLDERS), *served(HOLDERS), constant("wattledger_queue_depth", 40, model="n", **HOLDERS[0])]
    promtool(
        require_tool,
        tmp_path,
        series,
        [(queries(scaling(model="m"))["waiting"], 8), (queries(scaling())["waiting"], 48)],
    )


@pytest.mark.tool("promtool")
def test_missing_telemetry_is_no_empty_queue(require_tool, tmp_path):
    """Pods that are known and whose queue is not: no answer, an error to KEDA, and nothing is taken away."""
    gateway = constant("gateway_requests_in_flight", 0, route="chat")
    for given in (scaling(active_ratio=0.5), QueueScaling.model_validate(FULL)):
        asked = queries(given)
        promtool(
            require_tool, tmp_path, [*infos(HOLDERS), gateway], [(asked["waiting"], None), (asked["activity"], None)]
        )


def pods(count):
    return constant(
        "kube_horizontalpodautoscaler_status_current_replicas",
        count,
        namespace="ml",
        horizontalpodautoscaler="keda-hpa-chat",
        job="kube-state-metrics",
    )


@pytest.mark.tool("promtool")
@pytest.mark.parametrize("told", [[pods(2)], []], ids=["pods run", "nothing is known of pods"])
def test_agents_that_are_silent_for_long_are_no_empty_queue_either(require_tool, tmp_path, told):
    asked = queries(QueueScaling.model_validate(FULL))
    gateway = constant("gateway_requests_in_flight", 0, route="chat")
    promtool(
        require_tool,
        tmp_path,
        [gateway, *told],
        [(asked["waiting"], None), (asked["activity"], None), (asked["wake"], 0)],
    )


@pytest.mark.tool("promtool")
def test_a_workload_at_zero_waits_for_its_gateway(require_tool, tmp_path):
    asked = queries(QueueScaling.model_validate(FULL))
    gateway = constant("gateway_requests_in_flight", 4, route="chat")
    promtool(
        require_tool,
        tmp_path,
        [gateway, pods(0)],
        [(asked["waiting"], 0), (asked["activity"], 0), (asked["latency"], 0), (asked["wake"], 4)],
    )
    promtool(require_tool, tmp_path, [pods(0)], [(asked["waiting"], None), (asked["wake"], None)])


@pytest.mark.tool("promtool")
def test_latency_without_requests_asks_for_nothing(require_tool, tmp_path):
    quiet = [growing("wattledger_time_to_first_token_seconds_bucket", 0, le="+Inf", model="m", **HOLDERS[0])]
    query = queries(scaling(ttft_p95_seconds=1))["latency"]
    promtool(require_tool, tmp_path, [*infos(HOLDERS), *quiet], [(query, 0)])


STRICT = "?fieldValidation=Strict"


@pytest.fixture
def keda(api_server, namespace):
    """A real API server that knows ScaledObjects, and where those of one namespace are."""
    api_server.install_crds("scaledobjects.keda.sh")
    return api_server, f"/apis/keda.sh/v1alpha1/namespaces/{namespace}/scaledobjects"


@pytest.fixture
def full(namespace):
    return QueueScaling.model_validate({**FULL, "namespace": namespace})


@pytest.fixture
def whole(full):
    return scaled_object(full, settings(authentication="prometheus", tenant="ml"), MONDAY_NOON)


def test_a_real_api_server_takes_the_object_and_its_patch_and_knows_every_field(keda, full, whole):
    server, folder = keda
    made = server.admin.post(folder + STRICT, whole)
    assert made["spec"] == whole["spec"]
    server.patch(f"{folder}/chat", bounds_patch(full, "UTC", bounds_of(made), SATURDAY))
    stands = server.admin.get(f"{folder}/chat")
    assert bounds_of(stands) == (0, 4)
    assert bounds_patch(full, "UTC", bounds_of(stands), SATURDAY) is None


@pytest.mark.parametrize(
    ("place", "field", "value"),
    [
        (["spec"], "pollingIntervall", 30),
        (["spec", "scaleTargetRef"], "apiversion", "apps/v1"),
        (["spec", "advanced"], "restoreToOriginalReplicas", True),
        (["spec", "advanced", "horizontalPodAutoscalerConfig"], "behaviour", {}),
        (
            ["spec", "advanced", "horizontalPodAutoscalerConfig", "behavior", "scaleDown"],
            "stabilisationWindowSeconds",
            9,
        ),
        (["spec", "triggers", 0], "metrictype", "Value"),
        (["spec", "triggers", 0, "authenticationRef"], "namespace", "keda"),
    ],
)
def test_a_real_api_server_refuses_a_field_that_keda_does_not_have(keda, whole, place, field, value):
    server, folder = keda
    inner = whole
    for step in place:
        inner = inner[step]
    inner[field] = value
    with pytest.raises(ApiError, match=rf"unknown field \\?\".*{field}"):
        server.admin.post(folder + STRICT, whole)


@pytest.mark.parametrize(("key", "value"), [("threshold", 4), ("ignoreNullValues", False)])
def test_a_real_api_server_refuses_what_is_no_text_in_a_trigger(keda, whole, key, value):
    server, folder = keda
    whole["spec"]["triggers"][0]["metadata"][key] = value
    with pytest.raises(ApiError, match=key):
        server.admin.post(folder + STRICT, whole)
