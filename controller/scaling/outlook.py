"""What schedules will do over the next days, by the clock alone: for a look before anything is touched.

A pure reading of wishes; guards, people and autoscalers may have it otherwise when the time comes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import heappop, heappush

from controller.scaling.model import Wish

MOST_SPANS = 500
"""Of one workload; a schedule that turns more often in a week is cut off there."""


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which one thing is wished."""

    begin: datetime
    end: datetime
    """Exclusive."""
    wish: Wish


def spans(wished: Callable[[datetime], Wish], begin: datetime, end: datetime) -> Iterator[Span]:
    """What is wished from ``begin`` to ``end``, neighbours that wish the same as one.

    Args:
        wished: the wish at a moment.
        begin: the first moment.
        end: exclusive.
    """
    return _merged(_steps(wished, begin, end))


def spans_of_all(
    wished: Sequence[Callable[[datetime], Wish]], begin: datetime, end: datetime
) -> list[tuple[Span, ...]]:
    """:func:`spans` of each, asked in the order of time: what many have in common is worked out once."""
    steps = [_steps(each, begin, end) for each in wished]
    found: list[list[Span]] = [[] for _ in wished]
    due = [(begin, number) for number in range(len(wished))]
    while due:
        _, number = heappop(due)
        if (span := next(steps[number], None)) is not None:
            found[number].append(span)
            heappush(due, (span.end, number))
    return [tuple(_merged(each)) for each in found]


def _merged(steps: Iterable[Span]) -> Iterator[Span]:
    held: Span | None = None
    for span in steps:
        if held is not None and _same(held.wish, span.wish):
            held = Span(held.begin, span.end, held.wish)
            continue
        if held is not None:
            yield held
        held = span
    if held is not None:
        yield held


def _steps(wished: Callable[[datetime], Wish], begin: datetime, end: datetime) -> Iterator[Span]:
    at = begin
    for _ in range(MOST_SPANS):
        wish = wished(at)
        until = end if wish.until is None else min(wish.until, end)
        yield Span(at, until, wish)
        if until >= end:
            return
        at = max(until, at + timedelta(seconds=1))


def _same(one: Wish, other: Wish) -> bool:
    return (one.wished, one.policy, one.size) == (other.wished, other.policy, other.size)


def strip(spans_of_week: list[Span], begin: datetime, cells: int, cell: timedelta, *, marks: str) -> str:
    """A picture of spans, one letter a cell.

    Args:
        spans_of_week: as :func:`spans` gives them.
        begin: of the first cell.
        cells: how many.
        cell: how long each is.
        marks: letters for a cell that is down, partly down, up, and of which nothing is wished.
    """
    down, partly, up, nothing = tuple(marks)
    letters: list[str] = []
    for number in range(cells):
        first, last = begin + number * cell, begin + (number + 1) * cell
        within = [span.wish.wished for span in spans_of_week if span.begin < last and span.end > first]
        if not within or set(within) <= {"none", "unclear"}:
            letters.append(nothing)
        elif set(within) == {"down"}:
            letters.append(down)
        else:
            letters.append(partly if "down" in within else up)
    return "".join(letters)
