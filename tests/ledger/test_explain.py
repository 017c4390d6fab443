"""What stands behind a holder's dollars of an hour is enough to work them out by hand."""

from datetime import timedelta
from fractions import Fraction

import pytest

from ledger.explain import HoursGone, NothingBooked, explain
from ledger.node_split import NodeSplit
from ledger.rolldays import roll_days
from ledger.store import Store
from ledger.tables import COST, USAGE
from tests.ledger.books_rig import DAY, HOUR, LINES, USD, books, line
from tests.ledger.ledger_rig import HOUR_NS, MINUTE_NS, at

TRAIN = {"holder": "ml/train-0/worker", "node": "b"}
AFTER = line("late", 9 * USD, "i-a", at(20))
"""Of an hour in which the instance was gone."""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return books(tmp_path_factory.mktemp("books") / "ledger", lines=(*LINES, AFTER))


def one(store, hour=None, **selected):
    told = explain(store, hour or at(5), selected)
    (row,) = told.rows
    return row


def by_hand(row):
    """The row's list cost, and of each charge its part, in exact fractions."""
    hours = Fraction(row.node_hour.existed_ns, HOUR_NS)
    whole = round(row.price.nano_usd_per_hour * hours) - (row.host_nano_usd or 0)
    listed = Fraction(whole * row.gpu_ns, row.priced_gpu_ns)
    share = Fraction(row.weight, row.weights)
    return listed, [(each.node_hour_nano_usd * share, each.effective_nano_usd) for each in row.charges]


@pytest.mark.parametrize("hour", [at(5), at(6), at(7)])
def test_every_row_can_be_worked_out_by_hand_to_the_nano_dollar(store, hour):
    told = explain(store, hour, {"provider": "aws", "account": "active"})
    assert len(told.rows) in {2, 4}
    for row in told.rows:
        listed, parts = by_hand(row)
        assert abs(listed - row.list_nano_usd) < 1
        assert all(abs(exact - booked) < 1 for exact, booked in parts)


def test_the_lines_behind_a_charge_add_up_to_it_and_each_part_is_its_share_of_time(store):
    (charge,) = one(store, **TRAIN).charges
    (lines,) = charge.lines
    assert lines.ids == ("bill-1/b",)
    assert (lines.pricing, lines.effective_nano_usd) == ("commitment", 20 * USD + 1)
    assert sum(each.part_nano_usd for each in charge.lines) == charge.node_hour_nano_usd
    assert abs(Fraction(lines.effective_nano_usd * lines.weight_ns, lines.weights_ns) - lines.part_nano_usd) < 1
    assert lines.weights_ns == 3 * HOUR_NS


def test_price_source_date_method_and_control_figure_are_told(store):
    row = one(store, **TRAIN)
    assert (row.price.source, str(row.price.as_of), row.price.of) == ("bundled:list", "2026-10-01", "node")
    assert (row.account, row.method, row.energy_method) == ("active", "exclusive", "whole")
    assert (row.node_hour.evidence, row.node_hour.state, row.node_hour.source) == ("api", "final", "measured")
    assert (row.gpu_ns, row.energy_mj) == (HOUR_NS, 2_400_000)
    assert row.intensity.startswith("country-mix IRL 2023")


def test_the_totals_are_those_of_the_rows_and_the_versions_are_those_that_were_read(store):
    told = explain(store, at(5), {"holder": "ml/chat-0/server"})
    assert told.effective_nano_usd == sum(row.effective_nano_usd for row in told.rows)
    assert told.list_nano_usd == sum(row.list_nano_usd for row in told.rows)
    assert told.estimate_nano_usd == 0
    assert told.versions["cost"] == store.version(COST)


def test_without_a_bill_all_is_an_estimate(tmp_path):
    told = explain(books(tmp_path, lines=()), at(5), TRAIN)
    assert (told.effective_nano_usd, told.estimate_nano_usd) == (None, 4 * USD)
    assert told.rows[0].charges == ()


def test_a_host_with_a_part_of_its_own_is_told(tmp_path):
    row = one(books(tmp_path, split=NodeSplit.AWS), **TRAIN)
    listed, _ = by_hand(row)
    assert row.host_nano_usd > 0
    assert abs(listed - row.list_nano_usd) < 1


def test_shared_cost_is_explained_by_its_lines(store):
    row = one(store, account="shared")
    assert row.node_hour is None
    assert {each.charge: each.lines[0].ids for each in row.charges} == {
        "tax": ("bill-1/tax",),
        "usage": ("bill-1/storage",),
    }
    tax = next(each for each in row.charges if each.charge == "tax")
    assert (tax.lines[0].weight_ns, tax.lines[0].weights_ns) == (HOUR_NS, 48 * HOUR_NS)


def test_a_line_of_an_hour_in_which_its_node_was_gone_says_so(store):
    row = one(store, at(20), node="a")
    assert (row.account, row.node_hour) == ("unobserved", None)
    assert row.charges[0].lines[0].weights_ns == 0
    assert row.effective_nano_usd == 9 * USD


def test_what_is_not_there_is_answered_with_what_is(store):
    with pytest.raises(
        NothingBooked, match=r"for holder 'ml/none' at 2026-11-01T05:00Z; that hour has holder: ml/chat"
    ):
        explain(store, at(5), {"holder": "ml/none"})
    with pytest.raises(NothingBooked, match="that hour has none at all"):
        explain(store, at(5) - timedelta(days=3), {})


def test_a_column_that_there_is_not_and_half_an_hour_are_refused(store):
    with pytest.raises(ValueError, match="no 'colour' to be selected by: there is cluster, node"):
        explain(store, at(5), {"colour": "red"})
    with pytest.raises(ValueError, match="no start of an hour of UTC"):
        explain(store, at(5, 30), {})
    with pytest.raises(ValueError, match="no start of an hour of UTC"):
        explain(store, at(5).replace(tzinfo=None), {})


def test_rows_beyond_the_limit_are_counted(store):
    told = explain(store, at(5), {"provider": "aws"}, limit=3)
    assert (len(told.rows), told.left_out) == (3, 6)


def test_a_day_that_was_rolled_has_no_hours_to_explain(tmp_path):
    made = books(tmp_path)
    roll_days(Store(str(tmp_path)), USAGE, closed=(DAY + 24 * HOUR).date())
    with pytest.raises(HoursGone, match="hours of 2026-11-01 became one day"):
        explain(made, at(5), {})


def test_what_a_holder_asked_for_and_held_is_told(store):
    chat = explain(store, at(5), {"holder": "ml/chat-0/server", "node": "a"}).rows
    assert {row.account: row.gpu_ns for row in chat} == {"active": 20 * MINUTE_NS, "idle": 10 * MINUTE_NS}
    assert {row.team for row in chat} == {"search"}


def test_with_nothing_selected_every_row_of_the_hour_is_told_and_how_far_it_is(store):
    done = []
    told = explain(store, at(5), {}, progress=lambda *counts: done.append(counts))
    rows = store.scan(COST).filter(hour_utc=at(5)).collect()
    assert {each.node_hour and each.node_hour.node for each in told.rows} == {None, "a", "b"}
    assert told.list_nano_usd == rows["list_nano_usd"].sum()
    assert done == [(number, len(told.rows)) for number in range(1, len(told.rows) + 1)]
