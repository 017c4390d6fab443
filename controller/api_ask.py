"""Works on questions: a few at a time, each within its time, so that no question holds the server or its memory."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from typing import TypeVar

T = TypeVar("T")

_WAITING_EACH = 4
"""Questions that may wait for each that is worked on."""


class Busy(Exception):  # noqa: N818  (named for the caller's move: ask again later)
    """Too many questions, or this one takes too long; the message says which."""


class Worker:
    """Answers questions in threads of its own.

    Args:
        at_once: questions worked on at a time.
        seconds: that an asker waits. A question that takes longer is worked on to its end, and keeps its place.
    """

    def __init__(self, at_once: int, seconds: float) -> None:
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="query")
        self._places = threading.BoundedSemaphore(at_once * (1 + _WAITING_EACH))
        self._seconds = seconds

    def ask(self, work: Callable[[], T]) -> T:
        """What ``work`` returns or raises.

        Raises:
            Busy: there is no place, or no answer in time.
        """
        if not self._places.acquire(blocking=False):
            raise Busy("too many questions at once; ask again in a moment, or raise controller.queries_at_once")
        asked = self._pool.submit(work)
        asked.add_done_callback(lambda _asked: self._places.release())
        try:
            return asked.result(self._seconds)
        except NotInTime:
            asked.cancel()
            raise Busy(
                f"no answer within {self._seconds:g} s; ask for a shorter window or a coarser aggregate, or raise "
                "controller.query_seconds"
            ) from None

    def close(self) -> None:
        """Take no more; what is worked on is left to end by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)
