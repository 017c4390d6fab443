"""Intents stand before downs; results never hold anything back, and are not lost without a word."""

import logging
import threading
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from controller.scaling.act import Outcome
from controller.scaling.audit_log import MOST_REMARKED, AuditLog, found_again
from controller.scaling.model import Ref
from ledger.audit import Asked, append, open_intents, read
from ledger.store import Store
from ledger.store_errors import Fenced, StoreError
from ledger.tables import AUDIT
from tests.controller.scaling.audit_rig import CHAT, EVENING, MORNING, Ledger, down, finish, record, restore, seen

DONE = Outcome("done")
MINUTE = timedelta(minutes=1)
TRAIN = Ref("Job", "ml", "train")


@pytest.fixture
def ledger():
    made = Ledger()
    yield made
    made.answers.set()


def log_of(ledger, **more):
    return AuditLog(ledger, cluster="eu", actor="wattledger-0", **more)


def told(rows):
    return [(row.action, row.phase, row.result, row.target.name) for row in rows]


def test_the_intents_of_a_batch_are_one_commit_before_anything_is_written(ledger):
    log_of(ledger).intend([down(), down(TRAIN)], EVENING)
    assert [told(batch) for batch in ledger.batches] == [
        [("down", "intent", "", "chat"), ("down", "intent", "", "train")]
    ]
    first = ledger.rows[0]
    assert (first.at, first.policy, first.window, first.until) == (EVENING, "nights", EVENING, MORNING)
    assert (first.before, first.after, first.gpus, first.priority) == ('{"replicas":3}', '{"replicas":0}', 6, 2)
    assert (first.actor, first.reason, first.target.uid, first.dry_run) == (
        "wattledger-0", "the night began", "uid-chat", False,
    )  # fmt: skip


def test_a_result_shares_its_intents_id(ledger):
    log = log_of(ledger)
    log.intend([down()], EVENING)
    log.note(down(), DONE, EVENING + MINUTE)
    assert log.close(10) == 0
    assert told(ledger.rows) == [("down", "intent", "", "chat"), ("down", "result", "done", "chat")]
    assert ledger.rows[0].id == ledger.rows[1].id


def test_what_goes_on_with_a_recorded_down_shares_the_id_of_its_forerunner(ledger):
    log = log_of(ledger)
    log.intend([down()], EVENING)
    log.intend([down(now=EVENING + MINUTE, at=EVENING, recorded=True)], EVENING + MINUTE)
    log.intend([down(now=EVENING + MINUTE)], EVENING + MINUTE)
    further = down(lever=seen(record=record(), replicas=1), at=EVENING)
    log.intend([further], EVENING + 2 * MINUTE)
    first, second, other, to_another_size = (row.id for row in ledger.rows)
    assert first == second
    assert len({first, other, to_another_size}) == 3


def test_no_down_is_made_while_the_ledger_refuses(ledger):
    ledger.error = StoreError("no room is left there")
    log = log_of(ledger)
    with pytest.raises(StoreError, match="no room is left there"):
        log.intend([down()], EVENING)
    assert log.waiting == 0  # the intent of a down that is not made is no news


def test_whatever_fails_holds_back_downs(ledger):
    ledger.error = OSError("the disk is gone")
    with pytest.raises(StoreError, match="no down is made: the disk is gone"):
        log_of(ledger).intend([down()], EVENING)


def test_a_fenced_leader_is_told_that_it_is(tmp_path):
    former, latter = (Store(str(tmp_path), tables=(AUDIT,)) for _ in range(2))
    former.claim_epoch()
    latter.claim_epoch()
    with pytest.raises(Fenced):
        log_of(partial(append, former)).intend([down()], EVENING)


def test_a_ledger_that_does_not_answer_holds_back_downs_for_a_while_and_nothing_else(ledger):
    ledger.answers.clear()
    log = log_of(ledger, seconds=0.01)
    with pytest.raises(StoreError, match=r"no down is made: the ledger did not take their audit rows within 0.01 s"):
        log.intend([down()], EVENING)
    with pytest.raises(StoreError, match="has not answered the former batch"):
        log.intend([down()], EVENING)
    log.note(restore(), DONE, MORNING)
    log.write()
    assert (log.waiting, ledger.rows) == (3, [])
    ledger.answers.set()
    assert log.close(10) == 0
    assert told(ledger.rows)[1:] == [("restore", "intent", "", "chat"), ("restore", "result", "done", "chat")]


def intend_meanwhile(log, ledger):
    """Downs are intended while the ledger has not answered the batch before."""
    ledger.answers.clear()
    log.note(restore(), DONE, MORNING)
    log.write()
    assert log.waiting == 2
    assert ledger.asked.wait(60)
    downs = threading.Thread(target=log.intend, args=([down()], MORNING))
    downs.start()
    assert ledger.batches == []
    ledger.answers.set()
    downs.join()


def test_downs_wait_for_a_commit_that_is_under_way_and_are_made_after_it(ledger):
    intend_meanwhile(log_of(ledger), ledger)
    assert [told(batch)[-1] for batch in ledger.batches] == [
        ("restore", "result", "done", "chat"),
        ("down", "intent", "", "chat"),
    ]


def test_a_commit_that_fails_before_them_fails_no_down(ledger):
    def fails_first(rows):
        ledger.asked.set()
        ledger.answers.wait(60)
        if all(row.action != "down" for row in rows):
            raise StoreError("busy")
        ledger(rows)

    intend_meanwhile(log_of(fails_first), ledger)
    assert [told(batch) for batch in ledger.batches] == [
        [("restore", "intent", "", "chat"), ("restore", "result", "done", "chat"), ("down", "intent", "", "chat")]
    ]


def test_a_restores_rows_bear_the_moment_of_its_record(ledger):
    log = log_of(ledger)
    log.note(restore(now=MORNING + MINUTE, since=MORNING, recorded=True), DONE, MORNING + MINUTE)
    log.note(finish(), DONE, MORNING + 2 * MINUTE)
    log.close(10)
    assert [row.at for row in ledger.rows] == [MORNING, MORNING + MINUTE, MORNING + 2 * MINUTE, MORNING + 2 * MINUTE]
    assert ledger.rows[0].id == ledger.rows[1].id
    assert (ledger.rows[0].before, ledger.rows[0].after) == ('{"replicas":0}', '{"replicas":3}')
    assert {row.policy for row in ledger.rows} == {"nights"}  # by the record, once no policy concerns it
    assert told(ledger.rows)[2:] == [("finish", "intent", "", "chat"), ("finish", "result", "done", "chat")]


def test_results_wait_in_order_until_the_ledger_takes_them(ledger, caplog):
    ledger.error = StoreError("no room is left there")
    log = log_of(ledger)
    with caplog.at_level(logging.ERROR):
        for minute in range(3):
            log.note(down(), Outcome("conflict", str(minute)), EVENING + minute * MINUTE)
            assert log.close(10) == minute + 1
    assert [record.message for record in caplog.records] == [
        "audit rows cannot be written, and wait in memory: no room is left there"
    ]
    ledger.error = None
    assert log.close(10) == 0
    assert [row.reason for row in ledger.rows] == ["0", "1", "2"]


def test_rows_beyond_the_bound_are_counted_as_lost_the_oldest_first(ledger):
    ledger.error = StoreError("away")
    log = log_of(ledger, most=3)
    for minute in range(5):
        log.note(down(), Outcome("unknown", str(minute)), EVENING + minute * MINUTE)
        log.close(10)
    ledger.error = None
    log.close(10)
    assert ([row.reason for row in ledger.rows], log.lost) == (["2", "3", "4"], 2)


def test_a_step_whose_former_write_is_not_seen_yet_is_no_news(ledger):
    log = log_of(ledger)
    log.note(down(), Outcome("pending"), EVENING)
    assert log.waiting == 0


def test_a_refusal_is_told_once_for_each_window_and_guard(ledger):
    log, later = log_of(ledger), down(dry_run=True)
    for minute in range(3):
        log.remark(down(), "refused", f"activity: {minute} % of its GPUs work", EVENING + minute * MINUTE)
    log.remark(down(), "refused", "young: made 3 min ago", EVENING)
    log.remark(later, "done", "dry run", EVENING)
    log.keep([TRAIN])
    log.remark(later, "done", "dry run", EVENING)
    log.close(10)
    assert [(row.result, row.reason, row.dry_run) for row in ledger.rows] == [
        ("refused", "activity: 0 % of its GPUs work", False),
        ("refused", "young: made 3 min ago", False),
        ("done", "dry run", True),
        ("done", "dry run", True),
    ]


def test_reasons_that_alternate_are_taken_once_each_of_a_window_and_few_are_remembered(ledger):
    log, tonight = log_of(ledger), down()
    next_night = replace(tonight, wish=replace(tonight.wish, window=EVENING + timedelta(days=1)))
    for _ in range(3):
        for guard in ("activity", "queue"):
            log.remark(tonight, "refused", f"{guard}: it works", EVENING)
    log.remark(next_night, "refused", "activity: it works", EVENING)
    for number in range(MOST_REMARKED):
        log.remark(next_night, "refused", f"reason {number}: why", EVENING)
    log.remark(tonight, "refused", "queue: it works", EVENING)
    log.close(10)
    reasons = [row.reason.partition(":")[0] for row in ledger.rows]
    assert reasons == [
        "activity", "queue", "activity", *(f"reason {number}" for number in range(MOST_REMARKED)), "queue"
    ]  # fmt: skip


def test_what_was_written_for_a_workload_is_named_where_it_is_another_object(ledger):
    scaler = seen(Ref("HorizontalPodAutoscaler", "ml", "chat-hpa"), minReplicas=2)
    log_of(ledger).intend([down(lever=scaler)], EVENING)
    assert ledger.rows[0].through == "HorizontalPodAutoscaler chat-hpa"
    assert (ledger.rows[0].target.kind, ledger.rows[0].before) == ("Deployment", '{"minReplicas":2}')


@pytest.mark.parametrize(
    ("found", "result"),
    [
        (seen(record=record(), replicas=0), "done"),
        (seen(record=record(), replicas=3), "unknown"),  # recorded, and not written: the next look goes on with it
        (seen(record=record(EVENING - MINUTE), replicas=0), "unknown"),
        (seen(), "unknown"),
        (None, "gone"),
    ],
)
def test_a_result_that_a_crash_lost_is_told_by_the_object(tmp_path, found, result):
    store = Store(str(tmp_path), tables=(AUDIT,))
    log_of(partial(append, store)).intend([down()], EVENING)  # and then the process dies
    rows = found_again(open_intents(store, "eu", EVENING), {CHAT: found}.get, MORNING)
    anew = log_of(partial(append, store))
    anew.found(rows)
    assert anew.close(10) == 0
    assert open_intents(store, "eu", EVENING).is_empty()
    last = read(store, Asked(EVENING)).collect().row(-1, named=True)
    assert (last["result"], last["at_utc"], last["actor"], last["policy"]) == (
        result,
        MORNING,
        "wattledger-0",
        "nights",
    )


def test_an_object_that_was_made_anew_is_not_the_one_that_was_put_down(tmp_path):
    store = Store(str(tmp_path), tables=(AUDIT,))
    log_of(partial(append, store)).intend([down(TRAIN)], EVENING)
    other = seen(Ref("Job", "ml", "other"), record=record(), replicas=0)
    (row,) = found_again(open_intents(store, "eu", EVENING), lambda _ref: other, MORNING)
    assert row.result == "gone"
