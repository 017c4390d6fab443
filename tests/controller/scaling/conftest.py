"""A real API server for the session, and a proxy in front of it for one test."""

import pytest

from tests.api_proxy import ApiProxy
from tests.cluster import build
from tests.cluster.api_only import ApiServer
from tests.cluster.errors import ClusterUnavailable
from tests.conftest import REQUIRED


@pytest.fixture(scope="session")
def api_server():
    """A real API server with etcd alone; skips by name where its programs are not built."""
    try:
        if REQUIRED:
            build.build()
        standing = ApiServer.up()
    except ClusterUnavailable as error:
        pytest.skip(str(error))
    with standing:
        yield standing


@pytest.fixture
def namespace(api_server):
    """A namespace of this test's own."""
    return api_server.make_namespace()


@pytest.fixture
def proxy(api_server):
    """What stands between the client under test and ``api_server``, and can be told to fail."""
    with ApiProxy(api_server.url, api_server.ca) as between:
        yield between
