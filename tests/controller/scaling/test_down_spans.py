"""From audit rows to the stretches that a workload was down."""

from datetime import timedelta

from controller.scaling.down_spans import Key, spans
from ledger.audit import AuditRow, Target, frame_of
from tests.ledger.ledger_rig import at

LATER = at(23)


def row(action, moment, *, name="chat", result="done", until=None, dry_run=False):
    target = Target("eu", "Deployment", "ml", name)
    phase = "result" if result else "intent"
    return AuditRow(moment, f"{action}{moment}", phase, action, target, result=result, until=until, dry_run=dry_run)


def found(*rows, through=LATER):
    return [(span.begin, span.end, span.reference) for span in spans(frame_of(rows), through)]


def test_a_span_is_from_the_down_that_was_done_to_what_gave_it_back():
    assert found(
        row("down", at(5), result=""),
        row("down", at(5), result="conflict"),
        row("down", at(5, 1)),
        row("restore", at(9), result="conflict"),
        row("restore", at(9, 1)),
        row("finish", at(9, 5)),
    ) == [(at(5, 1), at(9, 1), at(4))]


def test_dry_runs_and_refusals_put_nothing_down():
    assert found(row("down", at(5), dry_run=True), row("down", at(6), result="refused")) == []


def test_what_is_down_still_is_counted_until_the_books_end():
    assert found(row("down", at(5)), through=at(8)) == [(at(5), at(8), at(4))]
    assert found(row("down", at(9)), through=at(8)) == []


def test_what_stays_down_after_its_window_is_late_and_no_saving():
    assert found(row("down", at(5), until=at(8)), row("restore", at(10))) == [(at(5), at(8), at(4))]
    assert found(row("down", at(5), until=at(8))) == [(at(5), at(8), at(4))]  # it was deleted, and nobody told


def test_a_workload_that_is_gone_or_was_taken_over_is_down_no_more():
    assert found(row("down", at(5)), row("restore", at(7), result="gone")) == [(at(5), at(7), at(4))]
    assert found(row("down", at(5)), row("give_way", at(7))) == [(at(5), at(7), at(4))]


def test_a_second_down_of_the_same_window_goes_on_with_the_first():
    assert found(row("down", at(5), until=at(9)), row("down", at(6), until=at(9)), row("restore", at(8))) == [
        (at(5), at(8), at(4))
    ]


def test_a_down_of_a_later_window_begins_anew():
    assert found(row("down", at(5), until=at(8)), row("down", at(15), until=at(18))) == [
        (at(5), at(8), at(4)),
        (at(15), at(18), at(14)),
    ]


def test_a_workload_that_was_down_just_before_is_held_against_the_hour_before_all_of_it():
    rows = [row("down", at(5, 30)), row("restore", at(7, 10)), row("down", at(8, 5)), row("restore", at(9))]
    assert found(*rows) == [(at(5, 30), at(7, 10), at(4)), (at(8, 5), at(9), at(4))]
    whole_hour_up = [*rows[:2], row("down", at(9, 5))]
    assert found(*whole_hour_up)[1][2] == at(8)


def test_workloads_are_told_apart():
    keys = [span.key for span in spans(frame_of([row("down", at(5)), row("down", at(4), name="other")]), LATER)]
    assert keys == [Key("eu", "ml", "Deployment", "chat"), Key("eu", "ml", "Deployment", "other")]
    assert spans(frame_of([]), LATER + timedelta(days=1)) == []
