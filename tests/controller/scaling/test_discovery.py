"""Which kinds a real API server has, and what it costs to know."""

import pytest

from collectors.errors import Unavailable
from controller.scaling.discovery import Discovery
from tests.api_proxy import CUT_BEFORE, DOWN
from tests.controller.scaling.scaling_rig import DEPLOYMENT, HPA, PlainKind, crd, until

WIDGET = PlainKind("Widget", "discovery.test", "widgets", ("v2", "v1"))
GADGET = PlainKind("Gadget", "discovery.test", "gadgets")
KINDS = (DEPLOYMENT, HPA, WIDGET, GADGET)


@pytest.fixture
def asked(proxy):
    return lambda: [request.path for request in proxy.requests]


@pytest.fixture
def discovery(api_server, proxy):
    return Discovery(api_server.client(url=proxy.url), KINDS)


@pytest.fixture
def widgets(api_server):
    made = crd(WIDGET)
    api_server.make_crd(made)
    until(lambda: "discovery.test" in str(api_server.admin.get("/apis")))
    yield
    api_server.remove_crd(made["metadata"]["name"])
    until(lambda: "discovery.test" not in str(api_server.admin.get("/apis")))


def test_kinds_that_are_not_installed_cost_one_question_for_all(discovery, asked, proxy):
    assert discovery.look() == {"Deployment": "v1", "HorizontalPodAutoscaler": "v2", "Widget": "", "Gadget": ""}
    assert asked() == ["/apis", "/apis/apps/v1", "/apis/autoscaling/v2"]
    proxy.forget()
    discovery.look()
    assert asked() == ["/apis"]


def test_a_crd_that_appears_is_found_in_the_version_that_is_served(discovery, asked, proxy, widgets):
    assert discovery.look()["Widget"] == "v1"
    proxy.forget()
    assert discovery.look()["Gadget"] == ""
    assert asked() == ["/apis", "/apis/discovery.test/v1"]


def test_a_crd_that_goes_is_noticed(discovery, api_server, widgets):
    discovery.look()
    api_server.remove_crd("widgets.discovery.test")
    until(lambda: discovery.look(["Widget"])["Widget"] == "")
    api_server.make_crd(crd(WIDGET))
    until(lambda: discovery.look()["Widget"] == "v1")


def test_a_group_that_does_not_answer_leaves_what_was_known_and_the_others(discovery, proxy, widgets):
    proxy.fail_where(lambda request: "autoscaling" in request.path, DOWN)
    served = discovery.look()
    assert "HorizontalPodAutoscaler" not in served
    assert (served["Deployment"], served["Widget"]) == ("v1", "v1")
    assert "HTTP 503" in discovery.errors["HorizontalPodAutoscaler"]
    proxy.fail_where(lambda request: request.path != "/apis", DOWN, times=-1)
    assert discovery.look(["Widget"])["Widget"] == "v1"
    proxy.heal()
    assert discovery.look()["HorizontalPodAutoscaler"] == "v2"
    assert discovery.errors == {}


def test_a_server_that_does_not_answer_is_told(discovery, proxy):
    proxy.fail_next(CUT_BEFORE)
    with pytest.raises(Unavailable, match="does not answer get /apis "):
        discovery.look()
