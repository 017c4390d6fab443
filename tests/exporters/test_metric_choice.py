"""What is shown of the catalogue; the families' own tests hold what each group brings to the page."""

from typing import get_args

import pytest

from exporters import catalogue, catalogue_books, catalogue_gpu
from exporters.metric import PREFIX, Group
from exporters.metric_choice import EVERYTHING, GROUPS, STANDARD, MetricChoice

GROUPED = [metric for metric in catalogue.ALL if metric.group]
BY_NAME = pytest.mark.parametrize("metric", GROUPED, ids=lambda metric: metric.name)


def test_each_group_has_a_meaning_and_a_metric():
    assert tuple(GROUPS) == get_args(Group)
    assert {metric.group for metric in GROUPED} == set(GROUPS)


@BY_NAME
def test_what_stands_in_does_so_for_a_metric_that_is_at_least_partly_standard(metric):
    declared = {each.name: each for each in catalogue.ALL}
    if metric.stands_in_for:
        other = declared[PREFIX + metric.stands_in_for]
        assert not STANDARD.none(other)


@BY_NAME
def test_the_group_of_a_metric_shows_all_of_it(metric):
    of_it, of_others = MetricChoice.of([metric.group]), MetricChoice.of(GROUPS.keys() - {metric.group})
    for choice in (of_it, EVERYTHING):
        assert choice.whole(metric)
        assert choice.value(metric, "whatever")
    for choice in (of_others, STANDARD):
        assert not choice.whole(metric)
        assert not any(choice.value(metric, value) for value in metric.details)
        assert choice.none(metric) != bool(metric.details)


def test_standard_metrics_and_standard_values_need_no_group():
    assert STANDARD.whole(catalogue_books.ACCOUNT_ENERGY)
    assert STANDARD.value(catalogue_gpu.GPU_CLOCK, "sm")
    assert not STANDARD.value(catalogue_gpu.GPU_CLOCK, "video")
    assert not STANDARD.value(catalogue_gpu.GPU_ENCODER, "sm")


def test_all_is_every_group():
    assert MetricChoice.of(["all"]) == MetricChoice.of(GROUPS) == EVERYTHING
    assert MetricChoice.of([]) == STANDARD


@pytest.mark.parametrize("metric", [m for m in catalogue.ALL if m.name.startswith("wattledger_account")])
def test_the_books_are_always_shown(metric):
    assert metric.group is None
