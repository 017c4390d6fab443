"""A week ahead, by the clock alone."""

from datetime import timedelta

from controller.scaling.model import Wish
from controller.scaling.outlook import MOST_SPANS, spans, strip
from tests.controller.scaling.engine_rig import BEGIN, nightly

MIDNIGHT = BEGIN.replace(hour=0)
DAY, TWO_HOURS = timedelta(days=1), timedelta(hours=2)


def nights(moment):
    wish = nightly()(None, None, 0, moment)
    if wish.wished == "down":
        return wish
    begin = moment.replace(hour=19)
    return Wish("up", "by day", "nights", until=begin if begin > moment else begin + DAY)


def test_spans_follow_each_other_without_a_gap():
    found = list(spans(nights, BEGIN, BEGIN + 2 * DAY))
    assert [span.wish.wished for span in found] == ["down", "up", "down", "up"]
    assert [span.end for span in found[:-1]] == [span.begin for span in found[1:]]
    assert (found[0].begin, found[-1].end) == (BEGIN, BEGIN + 2 * DAY)


def test_neighbours_that_wish_the_same_are_one():
    def always(moment):
        return Wish("down", "", "p", until=moment + timedelta(hours=1))

    assert len(list(spans(always, BEGIN, BEGIN + DAY))) == 1


def test_a_schedule_that_turns_all_the_time_ends_somewhere():
    def restless(moment):
        return Wish("down" if moment.second % 2 else "up", "", until=moment + timedelta(seconds=1))

    assert len(list(spans(restless, BEGIN, BEGIN + DAY))) == MOST_SPANS


def test_a_picture_has_a_letter_for_each_part_of_the_day():
    found = list(spans(nights, BEGIN, BEGIN + 2 * DAY))
    assert strip(found, MIDNIGHT + DAY, 12, TWO_HOURS, marks="d/u.") == "ddd/uuuuu/dd"
    assert strip([], MIDNIGHT, 3, TWO_HOURS, marks="d/u.") == "..."
