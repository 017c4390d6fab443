"""A real API server for the tests of this folder, and a proxy in front of it for one test."""

import pytest

from tests.api_proxy import ApiProxy
from tests.cluster.api_only import ApiServer
from tests.cluster.standing import standing


@pytest.fixture(scope="package")
def api_server():
    """One for all tests, each of which has namespaces of its own."""
    with standing(ApiServer.up) as server:
        yield server


@pytest.fixture(scope="module")
def own_api_server():
    """One for a test that looks at all namespaces."""
    with standing(ApiServer.up) as server:
        yield server


@pytest.fixture
def namespace(api_server):
    """A namespace of this test's own."""
    return api_server.make_namespace()


@pytest.fixture
def proxy(api_server):
    """What stands between the client under test and ``api_server``, and can be told to fail."""
    with ApiProxy(api_server.url, api_server.ca) as between:
        yield between
