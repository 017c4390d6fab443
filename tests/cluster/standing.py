"""A cluster, or an API server alone, for a fixture to hand out."""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import pytest

from tests.cluster import build
from tests.cluster.errors import ClusterUnavailable
from tests.conftest import REQUIRED

T = TypeVar("T")


@contextmanager
def standing(up: Callable[[], AbstractContextManager[T]]) -> Generator[T]:
    """What ``up`` starts, until it is left.

    Skips by name where the machine cannot have it or its programs are not built. Where programs are required they are
    built first, or the build that is running is waited for.
    """
    try:
        if REQUIRED:
            build.build()
        started = up()
    except ClusterUnavailable as error:
        pytest.skip(str(error))
    with started as stands:
        yield stands
