import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from cli.process_memory import KEPT_PAGES, TABLES_ALLOCATOR, keep_pages

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this C library has no mallopt")

HOLD_AND_LET_GO = """
import sys
from pathlib import Path
from cli.process_memory import keep_memory_down

def resident_pages():
    return int(Path("/proc/self/statm").read_text().split()[1])

if sys.argv[1] == "kept down":
    keep_memory_down()
large = [bytearray(1 << 20)]
large.clear()
before = resident_pages()
pinned = []
for _ in range(40):
    large.append(bytearray(1 << 20))
    pinned.append(bytearray(4000))
held = resident_pages() - before
large.clear()
print(held, resident_pages() - before)
"""


def pages_held_and_left(how):
    done = subprocess.run(
        [sys.executable, "-c", HOLD_AND_LET_GO, how],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(figure) for figure in done.stdout.split()]


@glibc
def test_large_blocks_go_back_to_the_system_once_they_are_free():
    held, left = pages_held_and_left("kept down")

    assert held > 40 * 200
    assert left < held / 10


@glibc
def test_the_c_library_left_alone_keeps_them():
    held, left = pages_held_and_left("left alone")

    assert left > held / 2


def test_pages_are_kept_unless_the_environment_says_otherwise(monkeypatch):
    monkeypatch.delenv(TABLES_ALLOCATOR, raising=False)
    keep_pages()
    assert os.environ[TABLES_ALLOCATOR] == KEPT_PAGES
    monkeypatch.setenv(TABLES_ALLOCATOR, "dirty_decay_ms:0")
    keep_pages()
    assert os.environ[TABLES_ALLOCATOR] == "dirty_decay_ms:0"
