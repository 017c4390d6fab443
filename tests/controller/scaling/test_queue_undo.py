"""`wattledger schedule restore` and ScaledObjects: what the controller made goes, what it moved is given back."""

from dataclasses import replace

import pytest

from controller.scaling.queue_mark import MARK, Mark
from tests.api_proxy import Fault
from tests.controller.scaling.kind_objects import OBJECTS
from tests.controller.scaling.schedule_rig import Home, run

MADE = Mark((1, 8), None, 1)
OURS = {"app.kubernetes.io/managed-by": "wattledger"}


@pytest.fixture
def home(api_server, namespace):
    api_server.install_crds("scaledobjects.keda.sh")
    home = Home(api_server, namespace)
    yield home
    items = api_server.admin.get(home.path("ScaledObject", ""))["items"]
    for item in items:
        api_server.admin.delete(home.path("ScaledObject", item["metadata"]["name"]))


def add(home, mark, labels=OURS, of="llama"):
    written = mark if isinstance(mark, str) else replace(mark, of=f"{home.name}/{of}").write()
    home.make(OBJECTS["ScaledObject"], annotations={MARK: written}, labels=labels)


def restore(home, *arguments, **reached):
    return run(home.server, "restore", "--namespace", home.name, *arguments, **reached)


def there(home):
    return home.server.admin.get(home.path("ScaledObject", ""))["items"]


def test_one_that_was_made_is_deleted(home):
    add(home, MADE)
    dry = restore(home, "--dry-run")
    assert dry.output == (
        f"would restore: ScaledObject {home.name}/llama: it is deleted, as it was not there before: "
        "KEDA gives back the replicas\n"
    )
    assert len(there(home)) == 1
    done = restore(home)
    assert (done.exit_code, there(home)) == (0, [])
    assert done.output.splitlines()[-1] == "1 of 1 objects are back"


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"labels": {}}, "it is not labelled app.kubernetes.io/managed-by=wattledger any more: theirs"),
        ({"of": "other"}, "it is a copy of {}/other, and theirs"),
    ],
)
def test_one_that_somebody_took_over_or_copied_stays_and_loses_the_mark_alone(home, how, why):
    add(home, MADE, **how)
    before = home.item("ScaledObject")
    done = restore(home)
    assert done.exit_code == 0, done.output
    assert why.format(home.name) in done.output
    after = home.item("ScaledObject")
    assert MARK not in after["metadata"].get("annotations", {})
    assert after["spec"] == before["spec"]


def test_one_of_which_nothing_can_be_made_does_not_keep_the_others_down(home):
    add(home, "[" * 100_000)
    item = OBJECTS["ScaledObject"]
    other = replace(MADE, of=f"{home.name}/zebra").write()
    home.make(item, name="zebra", annotations={MARK: other}, labels=OURS)
    done = restore(home)
    assert done.exit_code == 1
    assert [each["metadata"]["name"] for each in there(home)] == ["llama"]


def test_one_that_was_made_and_changed_since_is_named_with_the_commands(home):
    add(home, MADE)
    home.server.patch(home.path("ScaledObject"), {"spec": {"cooldownPeriod": 7}})
    done = restore(home)
    assert done.exit_code == 0
    assert (
        f"left: ScaledObject {home.name}/llama: it was made by the controller, and somebody changed it" in done.output
    )
    assert f"kubectl delete -n {home.name} scaledobjects.keda.sh/llama" in done.output
    assert len(there(home)) == 1


def test_bounds_that_were_moved_are_given_back_though_the_first_answer_is_lost(home, proxy):
    add(home, Mark((1, 8), (3, 12), 1))
    proxy.fail_where(lambda request: request.write, Fault(forward=True, cut="at once"), times=1)
    done = restore(home, url=proxy.url)
    assert done.exit_code == 0, done.output
    (item,) = there(home)
    assert (item["spec"]["minReplicaCount"], item["spec"]["maxReplicaCount"]) == (3, 12)
    assert MARK not in item["metadata"].get("annotations", {})


def test_one_that_is_down_by_a_schedule_too_comes_back_first(home):
    add(home, MADE)
    home.put_down("ScaledObject")
    dry = restore(home, "--dry-run")
    assert dry.exit_code == 0, dry.output
    done = restore(home)
    assert (done.exit_code, there(home)) == (0, []), done.output
    assert done.output.splitlines()[-1] == "2 of 2 objects are back"


def test_a_mark_edited_to_nonsense_is_left_and_told(home):
    add(home, "three")
    done = restore(home)
    assert done.exit_code == 1
    assert f"FAILED: ScaledObject {home.name}/llama: the annotation {MARK} is not as it was written" in done.output
    assert len(there(home)) == 1


def test_without_the_right_to_delete_it_is_said(home):
    add(home, MADE)
    home.server.grant("scaler", [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "patch"]}])
    done = restore(home, user="scaler")
    assert done.exit_code == 1
    assert "give the service account that asks the verb delete on scaledobjects of keda.sh" in done.output
