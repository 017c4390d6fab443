"""Who may write: the last to claim the ledger, and nobody else from that moment; in a directory and in a bucket."""

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from ledger.store import Store
from ledger.store_delta import append
from ledger.store_errors import Fenced, StoreError
from ledger.tables import BILLS, EPOCHS, NODE_HOURS, USAGE, empty
from tests.ledger.store_rig import HOUR_5, HOUR_6, bucket, hours, in_a_process, read

FENCED = (NODE_HOURS, USAGE)


@pytest.fixture(scope="module")
def options():
    with bucket() as found:
        yield found


@pytest.fixture(params=["directory", "bucket"])
def another(request, tmp_path):
    """Makes one more store of the same ledger, with two tables to keep claims short."""
    if request.param == "directory":
        return lambda: Store(str(tmp_path), tables=FENCED)
    options = request.getfixturevalue("options")
    return lambda: Store(f"s3://books/{tmp_path.name}", options=options, tables=FENCED)


def at_once(count, work):
    start = Barrier(count)

    def one(number):
        start.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_a_claim_shuts_the_former_leader_out_of_every_table(another):
    former, latter = another(), another()
    assert former.claim_epoch() == 1
    former.append(NODE_HOURS, hours((HOUR_5, "a", 1)))
    assert latter.claim_epoch() == 2
    for table in FENCED:
        with pytest.raises(Fenced, match=r"newer leader \(epoch 2, ours 1\).*nothing was written.*stop this process"):
            former.append(table, empty(table))
    latter.append(NODE_HOURS, hours((HOUR_6, "b", 2)))
    assert read(latter) == [(5, "a", 1), (6, "b", 2)]


def test_claimants_at_once_get_different_epochs(another):
    def claim(_):
        try:
            return another().claim_epoch()
        except Fenced as fenced:  # another claimed while this one was still telling the tables
            return int(str(fenced).partition("ours ")[2].partition(")")[0])

    assert sorted(at_once(4, claim)) == [1, 2, 3, 4]
    assert sorted(another().scan(EPOCHS).collect()["epoch"]) == [1, 2, 3, 4]


def test_processes_that_claim_at_once_get_different_epochs(tmp_path):
    code = """
    store = Store(sys.argv[1], tables=[NODE_HOURS])
    sys.stdin.readline()
    for _ in range(4):
        try:
            print(store.claim_epoch())
        except Exception as error:
            if type(error).__name__ != "Fenced": raise
            print(store.epoch)
    """
    code = "\n".join(line.removeprefix("    ") for line in code.splitlines())
    processes = [in_a_process(code, str(tmp_path), stdin=-1) for _ in range(2)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=120) for process in processes]
    assert [error for _, error in answers] == ["", ""]
    assert sorted(int(line) for out, _ in answers for line in out.splitlines()) == list(range(1, 9))


def test_a_leader_that_claims_again_goes_on(another):
    store = another()
    assert [store.claim_epoch(), store.claim_epoch()] == [1, 2]
    store.append(NODE_HOURS, hours((HOUR_5, "a", 1)))
    assert read(store) == [(5, "a", 1)]


def test_a_claim_while_a_write_is_under_way_refuses_the_write(another):
    former, latter = another(), another()
    former.claim_epoch()
    claims = iter([latter.claim_epoch])

    def write(handle, commit):
        for claim in claims:
            claim()
        append(NODE_HOURS, handle, hours((HOUR_5, "a", 1)), commit)

    with pytest.raises(Fenced):
        former.commit(NODE_HOURS, write)
    assert read(latter) == []


def test_a_write_that_comes_between_is_kept_and_the_late_one_follows_it(another):
    one, two = another(), another()
    others = iter([(HOUR_6, "b", 2)])

    def write(handle, commit):
        for row in others:
            two.append(NODE_HOURS, hours(row))
        append(NODE_HOURS, handle, hours((HOUR_5, "a", 1)), commit)

    version = one.commit(NODE_HOURS, write)
    assert read(one) == [(5, "a", 1), (6, "b", 2)]
    assert one.version(NODE_HOURS) == version == 2


def test_writers_of_one_hour_at_once_leave_one_of_their_rows(another):
    another().claim_epoch()
    first = another().version(NODE_HOURS)

    def write(number):
        return another().replace(NODE_HOURS, hours((HOUR_5, "a", number)), {"hour_utc": [HOUR_5], "node": ["a"]})

    versions = at_once(4, write)
    last = versions.index(max(versions))
    assert sorted(versions) == [first + 1, first + 2, first + 3, first + 4]
    assert read(another()) == [(5, "a", last)]


def test_appenders_at_once_lose_nothing_and_double_nothing(another):
    at_once(4, lambda number: [another().append(NODE_HOURS, hours((HOUR_5, f"{number}-{i}", i))) for i in range(3)])
    nodes = [node for _, node, _ in read(another())]
    assert nodes == sorted(f"{number}-{i}" for number in range(4) for i in range(3))


def test_a_commit_whose_answer_was_lost_is_known_again(another):
    store, calls = another(), []

    def write(handle, commit):
        calls.append(handle.version())
        append(NODE_HOURS, handle, hours((HOUR_5, "a", 1)), commit)
        raise OSError("connection reset by peer")

    assert store.commit(NODE_HOURS, write) == 1
    assert calls == [0]
    assert read(store) == [(5, "a", 1)]


def test_a_failure_that_is_no_conflict_is_not_tried_again(another):
    store, calls = another(), []

    def write(handle, commit):
        calls.append(handle.version())
        raise OSError("Permission denied (os error 13)")

    with pytest.raises(StoreError, match=r"cannot write node_hours at .*: no permission: allow s3:GetObject"):
        store.commit(NODE_HOURS, write)
    assert calls == [0]


def test_every_commit_bears_the_epoch_for_all_to_see(tmp_path):
    store = Store(str(tmp_path), tables=FENCED)
    store.claim_epoch()
    version = store.replace(NODE_HOURS, hours((HOUR_5, "a", 1)), {"hour_utc": [HOUR_5]})
    log = (tmp_path / "node_hours" / "_delta_log" / f"{version:020}.json").read_text()
    entries = [json.loads(line) for line in log.splitlines()]
    borne = [entry["txn"] for entry in entries if "txn" in entry]
    assert {"appId": "wattledger", "version": 1} in borne


def test_a_store_that_was_given_an_older_epoch_cannot_write(tmp_path):
    for _ in range(2):
        Store(str(tmp_path), tables=FENCED).claim_epoch()
    with pytest.raises(Fenced, match=r"epoch 2, ours 1"):
        Store(str(tmp_path), epoch=1).append(BILLS, empty(BILLS))
