"""The audit table: appended under the leadership, asked by window, learnt from, and never changed."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.audit import (
    Asked,
    AuditRow,
    Target,
    action_id,
    append,
    frame_of,
    open_intents,
    read,
    steps_of_windows,
    times_to_ready,
)
from ledger.store import Store
from ledger.store_errors import Fenced
from ledger.tables import AUDIT
from tests.ledger.ledger_rig import at

CHAT = Target("eu", "Deployment", "ml", "chat", "uid-1")
TRAIN = replace(CHAT, name="train", uid="uid-2")
TABLES = (AUDIT,)


def told(action, moment, target=CHAT, *, result="done", window=None, until=None, dry_run=False):
    phase = "result" if result else "intent"
    return AuditRow(
        moment,
        action_id(target, action, moment),
        phase,
        action,
        target,
        window=window,
        until=until,
        result=result,
        dry_run=dry_run,
    )


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path), tables=TABLES)


def test_a_row_is_read_as_it_was_written(store):
    row = AuditRow(
        at(5, 7),
        "a1",
        "intent",
        "down",
        CHAT,
        "wattledger/pod-0",
        "ScaledObject chat",
        "nights",
        at(5),
        at(12),
        '{"replicas":3}',
        '{"replicas":0}',
        reason="the window began",
        gpus=6,
        priority=2,
    )
    assert append(store, [row]) is not None
    found = read(store, Asked(at(0))).collect()
    assert found.equals(frame_of([row]))
    assert found.row(0, named=True) == {
        "day": at(5).date(),
        "at_utc": at(5, 7),
        "id": "a1",
        "phase": "intent",
        "actor": "wattledger/pod-0",
        "action": "down",
        "cluster": "eu",
        "kind": "Deployment",
        "namespace": "ml",
        "name": "chat",
        "uid": "uid-1",
        "through": "ScaledObject chat",
        "policy": "nights",
        "window": at(5),
        "until": at(12),
        "before": '{"replicas":3}',
        "after": '{"replicas":0}',
        "dry_run": False,
        "result": "",
        "reason": "the window began",
        "gpus": 6,
        "priority": 2,
    }


def test_nothing_to_add_is_no_commit(store):
    assert append(store, []) is None
    assert store.version(AUDIT) is None


def test_a_batch_is_one_commit(store):
    first = append(store, [told("down", at(5))])
    assert append(store, [told("down", at(6), TRAIN), told("restore", at(7))]) == first + 1


def test_a_former_leader_adds_nothing(tmp_path):
    former, latter = (Store(str(tmp_path), tables=TABLES) for _ in range(2))
    former.claim_epoch()
    latter.claim_epoch()
    with pytest.raises(Fenced):
        append(former, [told("down", at(5))])
    assert read(latter, Asked(at(0))).collect().is_empty()


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (Asked(at(0)), ["chat", "train", "chat"]),
        (Asked(at(6)), ["train", "chat"]),
        (Asked(at(5), at(7)), ["chat", "train"]),
        (Asked(at(0), name="train"), ["train"]),
        (Asked(at(0), kind="Job"), []),
        (Asked(at(0), cluster="us"), []),
        (Asked(at(0), namespace="ml", actions=("restore", "gone")), ["chat"]),
        (Asked(at(0), results=("conflict",)), ["train"]),
    ],
)
def test_rows_are_asked_for_by_time_and_name(store, asked, found):
    append(store, [told("restore", at(7)), told("down", at(6), TRAIN, result="conflict"), told("down", at(5))])
    assert read(store, asked).collect()["name"].to_list() == found


def steps(frame):
    return [(row["action"], row["name"], row["at_utc"]) for row in frame.iter_rows(named=True)]


def test_steps_of_a_window_are_told_in_order_and_once_each(store):
    window, earlier = at(5), at(5) - timedelta(days=1)
    down = told("down", at(5, 1), window=window)
    append(
        store,
        [
            told("restore", at(6), window=window),
            down,
            replace(down, at=at(5, 2)),  # told again after a restart
            told("raise", at(5, 30), window=window),
            told("tell_owner", at(4, 30), TRAIN, window=window),
            told("down", at(7), window=window, dry_run=True),
            told("down", at(8), window=window, result="conflict"),
            told("down", at(9), window=window, result=""),
            told("finish", at(9), window=window),
            told("down", at(5, 3), window=earlier, until=at(10)),
        ],
    )
    newest = [told("down", at(11), TRAIN, window=window), told("down", at(11), window=window, result="unknown")]
    found = steps_of_windows(store, "eu", at(12), at(4), windows=[window, None], newest=newest)
    assert steps(found) == [
        ("tell_owner", "train", at(4, 30)),
        ("down", "chat", at(5, 1)),
        ("raise", "chat", at(5, 30)),
        ("restore", "chat", at(6)),
        ("down", "train", at(11)),
    ]
    assert steps_of_windows(store, "us", at(12), at(4), windows=[window]).is_empty()


def test_a_window_is_under_way_until_its_downs_said_that_it_ends(store):
    days = [at(5) + timedelta(days=day) for day in range(3)]
    append(
        store,
        [
            told("down", days[0] + timedelta(minutes=1), window=days[0], until=days[1]),
            told("down", days[1] + timedelta(minutes=1), window=days[1], until=days[2]),
            told("restore", days[1] + timedelta(minutes=2), window=days[1], until=days[1] + timedelta(minutes=3)),
            told("down", days[1] + timedelta(minutes=4), TRAIN),
        ],
    )
    now = days[1] + timedelta(hours=1)
    under_way = steps(steps_of_windows(store, "eu", now, days[0]))
    assert [name for name, *_ in under_way] == ["down", "restore", "down"]
    assert [name for _, name, _ in under_way] == ["chat", "chat", "train"]
    assert len(steps_of_windows(store, "eu", now, days[0], windows=[days[0]])) == len(under_way) + 1
    assert steps(steps_of_windows(store, "eu", now, now)) == []


def test_an_intent_stays_open_until_any_result_is_told(store):
    open_one, closed = told("down", at(5), result=""), told("down", at(6), TRAIN, result="")
    append(store, [open_one, closed, replace(closed, phase="result", at=at(7), result="unknown")])
    assert open_intents(store, "eu", at(0))["id"].to_list() == [open_one.id]
    append(store, [replace(open_one, phase="result", at=at(8), result="done")])
    assert open_intents(store, "eu", at(0)).is_empty()


def test_the_time_to_ready_is_that_of_restores_that_were_finished(store):
    append(
        store,
        [
            told("restore", at(5)),
            told("restore", at(5, 1)),  # a new process wrote what the former had only recorded
            told("finish", at(5, 4)),
            told("restore", at(6), TRAIN),
            told("down", at(6, 1), TRAIN),
            told("finish", at(6, 2), TRAIN),
            told("restore", at(7)),
            told("restore", at(7, 10), result="conflict"),
            told("restore", at(8), dry_run=True),
            told("finish", at(8, 1), dry_run=True),
        ],
    )
    append(store, [told("finish", at(7, 30)), told("restore", at(9)), told("give_way", at(10)), told("finish", at(11))])
    found = times_to_ready(store, "eu", at(0))
    assert found.select("name", "restored_at", "seconds").rows() == [("chat", at(5), 240.0), ("chat", at(7), 1800.0)]


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.sampled_from(["Job", "Deployment"]), st.text(max_size=3), st.text(max_size=3)),
        unique=True,
        max_size=8,
    )
)
def test_two_actions_never_share_an_id(keys):
    ids = {action_id(Target("eu", kind, space, name), "down", at(5)) for kind, space, name in keys}
    assert len(ids) == len(keys)


def test_an_id_is_told_by_the_moment_in_any_zone():
    from zoneinfo import ZoneInfo

    berlin = at(5).astimezone(ZoneInfo("Europe/Berlin"))
    assert action_id(CHAT, "down", at(5)) == action_id(CHAT, "down", berlin)
    assert action_id(CHAT, "down", at(5)) != action_id(CHAT, "restore", at(5))
