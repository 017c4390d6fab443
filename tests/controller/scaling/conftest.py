"""A real API server for the tests of this folder, and a proxy in front of it for one test."""

from contextlib import contextmanager

import pytest

from tests.api_proxy import ApiProxy
from tests.cluster import build
from tests.cluster.api_only import ApiServer
from tests.cluster.errors import ClusterUnavailable
from tests.conftest import REQUIRED


@contextmanager
def standing():
    """A real API server with etcd alone; skips by name where its programs are not built."""
    try:
        if REQUIRED:
            build.build()
        server = ApiServer.up()
    except ClusterUnavailable as error:
        pytest.skip(str(error))
    with server:
        yield server


@pytest.fixture(scope="package")
def api_server():
    """One for all tests, each of which has namespaces of its own."""
    with standing() as server:
        yield server


@pytest.fixture(scope="module")
def own_api_server():
    """One for a test that looks at all namespaces."""
    with standing() as server:
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
