import pytest

from collectors.kube_errors import Busy, Failure, Forbidden, Rejected

DEPLOYMENT = "/apis/apps/v1/namespaces/ml/deployments/web"
DENIED = (
    'admission webhook "validate.kyverno.svc" denied the request: replicas must stay',
    'deployments.apps "web" is forbidden: ValidatingAdmissionPolicy "keep" with binding "b" denied request: no',
    'pods "x" is forbidden: exceeded quota: gpus, requested: 1, used: 8, limited: 8',
)


def failure(verb, path, status, message=""):
    return Failure(server="https://api", path=path, verb=verb, status=status, message=message).error()


@pytest.mark.parametrize(
    ("verb", "path", "right"),
    [
        ("patch", DEPLOYMENT, "the verb patch on deployments of apps in"),
        ("patch", f"{DEPLOYMENT}/scale", "the verb patch on deployments/scale of apps in"),
        ("create", "/api/v1/namespaces/ml/events", "the verb create on events in"),
        ("watch", "/apis/apps/v1/deployments", "the verbs get, list and watch on deployments of apps in"),
        ("get", "/api/v1/namespaces/ml", "the verbs get, list and watch on namespaces in"),
        (
            "update",
            "/apis/coordination.k8s.io/v1/namespaces/x/leases/l",
            "the verbs get, create and update on leases of coordination.k8s.io in",
        ),
    ],
)
def test_a_missing_right_is_named_as_a_role_would_grant_it(verb, path, right):
    error = failure(verb, path, 403)
    assert isinstance(error, Forbidden)
    assert right in str(error)


@pytest.mark.parametrize("message", DENIED)
def test_what_the_clusters_own_rules_deny_is_no_missing_right(message):
    error = failure("patch", DEPLOYMENT, 403, message)
    assert isinstance(error, Rejected)
    assert "service account" not in str(error)


@pytest.mark.parametrize("status", [400, 422])
def test_what_is_not_accepted_is_told_apart_from_what_may_work_later(status):
    assert isinstance(failure("patch", DEPLOYMENT, status, "replicas: must be >= 0"), Rejected)


@pytest.mark.parametrize(("status", "untouched"), [(429, True), (503, False)])
def test_only_a_server_that_did_not_take_a_write_up_is_certain_not_to_have_written(status, untouched):
    error = failure("patch", DEPLOYMENT, status)
    assert isinstance(error, Busy)
    assert error.untouched is untouched
