"""Work on one thing after the other, some of them at a time, with results in the order of the things."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

_Thing = TypeVar("_Thing")
_Result = TypeVar("_Result")


def side_by_side(work: Callable[[_Thing], _Result], things: Iterator[_Thing], workers: int) -> Iterator[_Result]:
    """What ``work`` makes of each, in order; ``workers`` results wait at most while one is used.

    The first error in the order of the things is raised, be it of the work or of the next thing itself.
    """
    coming = deque[Future[_Result]]()
    with ThreadPoolExecutor(workers) as pool:
        for job in _jobs(pool, work, things):
            coming.append(job)
            if len(coming) > workers:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def _jobs(pool: Executor, work: Callable[[_Thing], _Result], things: Iterator[_Thing]) -> Iterator[Future[_Result]]:
    try:
        for thing in things:
            yield pool.submit(work, thing)
    except Exception as error:  # noqa: BLE001  (it is raised in its turn)
        failed = Future[_Result]()
        failed.set_exception(error)
        yield failed
