"""Many requests at once, for what comes in numbers."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Self, TypeVar

from collectors.kube_api import KubeApi
from tests.cluster.api_only import ApiServer

T = TypeVar("T")

_AT_ONCE = 6


class Crowd:
    """Makes requests as administrator, some at once."""

    def __init__(self, server: ApiServer) -> None:
        self._api = server.client(timeout_seconds=60, keep_connections=True)
        self._pool = ThreadPoolExecutor(_AT_ONCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._api.close()

    def all(self, make: Callable[[KubeApi, T], None], items: Iterable[T]) -> None:
        """One request, or more, for each; returns once all are answered."""
        for _ in self._pool.map(partial(make, self._api), items):
            pass
