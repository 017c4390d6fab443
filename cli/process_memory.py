"""Keeps memory and garbage collection of a process that runs for months down."""

import ctypes
import gc
import os

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
"""mallopt(3)."""
TABLES_ALLOCATOR = "_RJEM_MALLOC_CONF"
"""Where the allocator of polars reads its settings, once, when it is loaded."""
KEPT_PAGES = "dirty_decay_ms:10000,muzzy_decay_ms:0"
_LARGE_BYTES = 128 << 10


def keep_memory_down() -> None:
    """Let large blocks (a page of metrics, an hour of books) go back to the system as soon as they are free.

    The C library would otherwise keep such blocks from the second on, and an arena for each thread besides. To be
    called before the first thread starts. Where the C library has no such setting nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_ARENA_MAX, 1)


def keep_pages() -> None:
    """Let polars keep pages for ten seconds that it freed, unless the environment says otherwise.

    Its own half second has it give back and take again what each block of rows needs: a third of the processor time of
    booking. To be called before polars is imported.
    """
    os.environ.setdefault(TABLES_ALLOCATOR, KEPT_PAGES)


def collect_rarely() -> None:
    """Let Python look for reference cycles every 20,000 objects and leave out those that stay for good.

    A sweep makes some thousands of short-lived tuples and no cycles; at the default of 700 the search for cycles takes
    a tenth of the sweep. To be called once everything is built.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
