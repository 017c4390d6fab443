"""The agent as it is, but for two things that a test of kills cannot wait for: a long log, and the next hour.

``python -m benchmarks.kills_agent COMPACT_BYTES WALL_OFFSET_NS agent OPTIONS...``
"""

import sys
import time

from agent import store
from cli.main import main
from collectors.clock import SystemClock


def run(compact_bytes: int, wall_offset_ns: int, arguments: list[str]) -> None:
    """Start the log anew once it has so many bytes, and let the wall clock be wrong by so much."""
    store.COMPACT_BYTES = compact_bytes

    def wall_ns(self: SystemClock) -> int:
        del self
        return time.time_ns() + wall_offset_ns

    SystemClock.wall_ns = wall_ns  # type: ignore[method-assign]  # the kernel's own clock stays as it is
    main(arguments)


if __name__ == "__main__":
    run(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
