"""A writer that is killed, or has no room: what stood before stands, or what was written does; never half of it."""

import os
import random
import subprocess
import time
from contextlib import suppress

import pytest

from ledger.store import Store
from ledger.store_errors import StoreError
from ledger.store_maintenance import compact
from ledger.tables import NODE_HOURS
from tests.ledger import duck
from tests.ledger.store_rig import HOUR_5, HOUR_6, hours, in_a_process, read

KILLS = int(os.environ.get("WATTLEDGER_KILLS", "10"))
ROWS = 3000
WRITE_WITHOUT_END = f"""
store = Store(sys.argv[1], tables=[NODE_HOURS])
store.claim_epoch()
for mark in range(int(sys.argv[2]), 10**6):
    rows = hours(*((HOUR_5, f"n{{n}}", mark) for n in range({ROWS})))
    store.replace(NODE_HOURS, rows, {{"hour_utc": [HOUR_5]}})
    store.append(NODE_HOURS, hours((HOUR_6, f"{{mark}}", mark)))
    if mark % 7 == 0:
        store.place.checkpoint(NODE_HOURS)
    print(mark, flush=True)
"""


def test_killed_at_any_moment_it_holds_the_old_or_the_new(tmp_path):
    root, mark, chance = str(tmp_path), 0, random.Random(7)
    for _ in range(KILLS):
        writer = in_a_process(WRITE_WITHOUT_END, root, str(mark))
        with writer:
            said = int(writer.stdout.readline())
            time.sleep(chance.random() * 0.3)
            writer.kill()
            said = max([said, *map(int, writer.stdout.read().split())])
        rows = read(Store(root))
        marks = {ns for hour, _, ns in rows if hour == 5}
        appended = sorted(ns for hour, _, ns in rows if hour == 6)
        assert len(rows) == ROWS + len(appended)
        assert marks in ({said}, {said + 1})
        assert appended[-1] in (said, said + 1)
        assert len(set(appended)) == len(appended)
        mark = said + 2


def test_after_a_kill_duckdb_reads_what_we_read(tmp_path):
    with in_a_process(WRITE_WITHOUT_END, str(tmp_path), "0") as writer:
        writer.stdout.readline()
        writer.kill()
    store = Store(str(tmp_path))
    total = sum(ns for _, _, ns in read(store))
    assert duck.query(store.place.uri(NODE_HOURS), "SELECT sum(existed_ns), count(*) FROM t") == [
        (total, len(read(store)))
    ]


def test_a_table_that_was_only_begun_is_begun_again(tmp_path):
    (tmp_path / "node_hours" / "_delta_log").mkdir(parents=True)
    (tmp_path / "node_hours" / "_delta_log" / "_commit_4f.json.tmp").write_text('{"half')
    store = Store(str(tmp_path))
    assert read(store) == []
    store.append(NODE_HOURS, hours((HOUR_5, "a", 1)))
    assert read(store) == [(5, "a", 1)]


@pytest.fixture
def small_volume(tmp_path, require_root):
    """A volume of 2 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "wattledger-test", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(volume):
    """Take the last byte."""
    filler = volume / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


def noise(rows):
    """Rows that do not compress."""
    chance = random.Random(1)
    return hours(*((HOUR_6, chance.randbytes(12).hex(), chance.getrandbits(62)) for _ in range(rows)))


def test_a_full_volume_loses_nothing_and_works_again_with_room(small_volume):
    store = Store(str(small_volume / "ledger"), tables=[NODE_HOURS])
    store.claim_epoch()
    store.append(NODE_HOURS, hours((HOUR_5, "a", 1)))
    before = store.version(NODE_HOURS)
    with pytest.raises(StoreError, match=r"cannot write node_hours at .*/node_hours: no room is left there: free"):
        store.append(NODE_HOURS, noise(150_000))
    assert (read(store), store.version(NODE_HOURS)) == ([(5, "a", 1)], before)
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_volume)], check=True)
    store.append(NODE_HOURS, noise(150_000))
    assert len(read(store)) == 150_001


def test_no_room_for_one_byte_more_leaves_the_table_readable(small_volume):
    store = Store(str(small_volume / "ledger"), tables=[NODE_HOURS])
    store.append(NODE_HOURS, hours((HOUR_5, "a", 1)))
    filler = fill(small_volume)
    with pytest.raises(StoreError, match="no room is left there"):
        store.append(NODE_HOURS, hours((HOUR_6, "a", 2)))
    assert read(store) == [(5, "a", 1)]
    filler.unlink()
    store.append(NODE_HOURS, hours((HOUR_6, "a", 2)))
    assert read(store) == [(5, "a", 1), (6, "a", 2)]


def test_a_limit_on_file_size_is_told_as_no_room(tmp_path):
    code = """
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
store = Store(sys.argv[1], tables=[NODE_HOURS])
store.append(NODE_HOURS, hours((HOUR_5, "a", 1)))
try:
    noise = ((HOUR_6, random.randbytes(12).hex(), random.getrandbits(62)) for _ in range(50_000))
    store.append(NODE_HOURS, hours(*noise))
except Exception as error:
    print(type(error).__name__, error)
"""
    with in_a_process(f"import random, resource\n{code}", str(tmp_path)) as writer:
        said, errors = writer.communicate(timeout=60)
    assert said.startswith(f"StoreError cannot write node_hours at {tmp_path}/node_hours: no room is left"), errors
    assert read(Store(str(tmp_path))) == [(5, "a", 1)]


def test_a_checkpoint_that_fails_is_logged_and_the_commit_stands(small_volume, caplog):
    store = Store(str(small_volume / "ledger"), tables=[NODE_HOURS])
    store.append(NODE_HOURS, hours((HOUR_5, "a", 1)))
    fill(small_volume)
    store.place.checkpoint(NODE_HOURS)
    assert "cannot checkpoint node_hours" in caplog.text
    assert "no room is left there" in caplog.text
    assert read(store) == [(5, "a", 1)]


def test_a_damaged_log_is_told_with_its_remedy(tmp_path):
    store = Store(str(tmp_path))
    version = store.append(NODE_HOURS, hours((HOUR_5, "a", 1)))
    (tmp_path / "node_hours" / "_delta_log" / f"{version + 1:020}.json").write_text('{"add":{"pa')
    with pytest.raises(StoreError, match=r"the table's log is damaged: restore the ledger from its backup"):
        read(store)


def test_a_compaction_that_has_no_room_changes_nothing(small_volume):
    store = Store(str(small_volume / "ledger"), tables=[NODE_HOURS])
    for _ in range(2):
        store.append(NODE_HOURS, noise(30_000))
    with pytest.raises(StoreError, match="no room is left there"):
        compact(store, NODE_HOURS, [HOUR_6.date()])
    assert len(read(store)) == 60_000
