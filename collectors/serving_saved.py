"""The series of a page's counters as text: saved once, with only their values beside it from page to page."""

import json
from collections.abc import Mapping
from typing import Any

from collectors.serving_values import CounterValues, Plans, SlotPlan


def plans_text(plans: Plans) -> str:
    """The plans, for :func:`plans_from_text` in a later process."""
    groups = [[_plain(key, plan) for key, plan in group.items()] for group in (plans.work, plans.phases, plans.latency)]
    return json.dumps([*groups, plans.scales], separators=(",", ":"))


def plans_from_text(text: str) -> Plans:
    """The inverse of :func:`plans_text`.

    Raises:
        ValueError, TypeError: it is no such text.
    """
    work, phases, latency, scales = json.loads(text)
    return Plans(_plans(work), _plans(phases), _plans(latency), tuple(scales))


def values_from_text(plans: Plans, written: str) -> CounterValues:
    """The values that a page wrote, scaled.

    Raises:
        ValueError: they are not as many as the plans have.
    """
    texts = written.split(" ") if written else []
    return CounterValues(plans, [float(text) * scale for text, scale in zip(texts, plans.scales, strict=True)], written)


def _plain(key: tuple[str, ...], plan: SlotPlan) -> list[Any]:
    return [key, plan.source, list(plan.series.items()), plan.start, plan.stop]


def _plans(plain: list[Any]) -> Mapping[Any, SlotPlan]:
    return {tuple(key): _plan(source, series, start, stop) for key, source, series, start, stop in plain}


def _plan(source: str, series: list[Any], start: int, stop: int) -> SlotPlan:
    found = {labels: tuple(parts) for labels, parts in series}
    kinds = set(found.values())
    return SlotPlan(source, found, kinds.pop() if len(kinds) == 1 else None, start, stop)
