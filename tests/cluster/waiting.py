"""Waiting for something to come true, for a limited time."""

import time
from collections.abc import Callable

from tests.cluster.errors import ClusterFailed

POLL_SECONDS = 0.05


def wait_until(condition: Callable[[], object], seconds: float, what: str, *, poll: float = POLL_SECONDS) -> None:
    """Returns once ``condition`` holds.

    Raises:
        ClusterFailed: it did not hold in time; ``what`` says what was waited for.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterFailed(f"after {seconds:g} s still waiting for: {what}")
        time.sleep(poll)
