import pytest

from agent.serving_holders import ServingHolders
from collectors.holder import Holder
from collectors.serving_settings import HolderSelector
from collectors.serving_targets import ServingTarget

SHORT, LONG = "0123456789ab", "0123456789ab" + "c" * 52


def pod(name):
    return Holder("pod", f"ns/chat-0/{name}")


def of_pod(container, *held):
    target = ServingTarget("k", (), namespace="ns", pod="chat-0", container=container)
    return ServingHolders(lambda: held).holder_of(target)


def selected(*held, listener=None, **selector):
    target = ServingTarget("k", (), holder=HolderSelector(**selector))
    return ServingHolders(lambda: held, lambda _: listener).holder_of(target)


def test_the_container_that_declares_the_port_is_taken_where_it_holds_a_device():
    assert of_pod("engine", pod("engine"), pod("other")) == pod("engine")


def test_else_the_only_container_of_the_pod_that_does():
    assert of_pod("proxy", pod("engine"), Holder("pod", "ns/chat-01/engine")) == pod("engine")
    assert of_pod("", pod("engine")) == pod("engine")


def test_of_several_none_is_guessed():
    assert of_pod("proxy", pod("a"), pod("b")) is None


def test_a_pod_without_devices_works_under_the_container_that_declares_the_port():
    assert of_pod("cpu", Holder("pod", "ns/other/x")) == pod("cpu")
    assert of_pod("", Holder("pod", "ns/other/x")) is None


def test_before_anybody_is_known_to_hold_anything_nothing_is_said():
    assert of_pod("engine") is None


@pytest.mark.parametrize(
    ("selector", "kind"), [("systemd", "systemd"), ("slurm", "slurm"), ("user", "user"), ("pod", "pod")]
)
def test_who_is_named_is_taken_by_name(selector, kind):
    assert selected(**{selector: "name"}) == Holder(kind, "name")


def test_a_container_is_known_by_its_short_and_by_its_long_id():
    held = Holder("container", SHORT)
    assert selected(held, container=LONG) == held
    assert selected(held, container=SHORT) == held
    assert selected(held, container="vllm") == Holder("container", "vllm")


def test_whoever_listens_is_taken_only_where_it_holds_a_device():
    engine, proxy = Holder("systemd", "vllm.service"), Holder("systemd", "docker.service")
    assert selected(engine, listener=engine, port=8000) == engine
    assert selected(engine, listener=proxy, port=8000) is None
    assert selected(engine, listener=None, port=8000) is None


def test_a_page_without_a_holder_is_nobodys_yet():
    assert ServingHolders(lambda: (pod("a"),)).holder_of(ServingTarget("k", ())) is None
