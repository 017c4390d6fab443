"""The picture of a week: letters for hours, days as wide as each other, workloads that are alike in one row."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from cli.schedule_picture import BLOCKS, LETTERS, cells_that_fit, midnights, picture
from controller.scaling.decide import Step
from controller.scaling.engine import Report
from controller.scaling.model import NamespaceSeen, Readiness, Ref, Seen, Wish, Workload
from controller.scaling.outlook import Span, spans
from controller.scaling.preview import Row

BERLIN = ZoneInfo("Europe/Berlin")
MONDAY = date(2026, 11, 23)
CREATED = datetime(2026, 1, 1, tzinfo=UTC)


def row(name, found, gpus=1, kind="Deployment"):
    ref = Ref(kind, "ml", name)
    seen = Seen(ref, "u", "1", 1, CREATED, {"replicas": 1}, Readiness(1, 1), gpus_per_pod=gpus)
    wish = found[0].wish
    report = Report(ref, ref, wish, Step("nothing", ""), Workload(seen, seen, NamespaceSeen("ml")))
    return Row(report, tuple(found), "Europe/Berlin", None)


def nightly(edges, policy="nights", first=20, last=7, zone=BERLIN):
    """Down from ``first`` to before ``last`` on each day, by the wall clock."""

    def wish(moment):
        local = moment.astimezone(zone)
        down = local.hour >= first or local.hour < last
        hours = [hour for hour in (last, first) if hour > local.hour]
        turn = local.replace(hour=hours[0], minute=0) if hours else local.replace(hour=last, minute=0)
        until = (turn if hours else turn + timedelta(days=1)).astimezone(UTC)
        return Wish("down" if down else "up", "", policy, until=until)

    return list(spans(wish, edges[0], edges[-1]))


def whole(edges, wished, policy=""):
    return [Span(edges[0], edges[-1], Wish(wished, "", policy))]


GOLDEN = """\
                              Mon 23 Nov   Tue 24 Nov   Wed 25 Nov   Thu 26 Nov   Fri 27 Nov   Sat 28 Nov   Sun 29 Nov
                              00    12     00    12     00    12     00    12     00    12     00    12     00    12
Deployment ml/lost, 1 GPU     ???????????? ???????????? ???????????? ???????????? ???????????? ???????????? ????????????
nights: 2 workloads, 12 GPUs  ...+######.. ...+######.. ...+######.. ...+######.. ...+######.. ...+######.. ...+######..
nights: Job ml/free, 2 GPUs   ------------ ------------ ------------ ------------ ------------ ------------ ------------
# up   . down   + down for a part   - nothing wished   ? not understood, left alone   a cell is 2 h"""


def test_a_week_of_four_workloads():
    edges = midnights(MONDAY, 7, BERLIN)
    rows = [
        row("train", nightly(edges), gpus=8),
        row("chat", nightly(edges), gpus=4),
        row("free", whole(edges, "none", "nights"), gpus=2, kind="Job"),
        row("lost", whole(edges, "unclear", "annotation of Deployment ml/lost")),
    ]
    assert "\n".join(picture(rows, edges, BERLIN, LETTERS, 160)) == GOLDEN


def test_a_day_on_which_clocks_turn_is_as_wide_as_the_others():
    edges = midnights(date(2026, 10, 24), 3, BERLIN)
    assert [(end - begin).total_seconds() / 3600 for begin, end in pairwise(edges)] == [24, 25, 24]
    drawn = picture([row("a", nightly(edges, first=16, last=8))], edges, BERLIN, BLOCKS, 160)[2]
    assert [len(day) for day in drawn.split("  ")[1].split(" ")] == [12, 12, 12]
    assert drawn.endswith(" ░░░░████░░░░")


@pytest.mark.parametrize(("width", "cells"), [(160, 12), (104, 12), (103, 8), (80, 8), (60, 4), (30, 1), (5, 1)])
def test_cells_are_as_fine_as_the_width_allows(width, cells):
    assert cells_that_fit(7, width) == cells


@pytest.mark.parametrize("width", [160, 100, 80, 60, 40])
def test_no_line_but_the_legend_is_wider_than_asked_for(width):
    edges = midnights(MONDAY, 7, BERLIN)
    rows = [row("a-very-long-name-of-a-deployment-that-nobody-shortened", nightly(edges))]
    assert max(len(line) for line in picture(rows, edges, BERLIN, BLOCKS, width)[:-1]) <= width


def test_policies_that_are_alike_in_time_keep_rows_of_their_own():
    edges = midnights(MONDAY, 1, BERLIN)
    rows = [row("a", nightly(edges)), row("b", nightly(edges, policy="others"))]
    assert [line.split(":")[0] for line in picture(rows, edges, BERLIN, BLOCKS, 160)[2:4]] == ["nights", "others"]
