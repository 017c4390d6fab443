"""When something is to be down: windows put together, and the answer to one moment, kept until it turns.

The answer is a function of the clock alone. What is kept between two questions only saves work: a process that just
began says the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

from controller.window_edges import last_turn, next_turn
from controller.window_kinds import Windows

_TOLD = timedelta(days=8)
"""How far ahead the end of an answer is told."""
_SOUGHT = 2 * _TOLD
_INSTANT = datetime.resolution


class Answer(NamedTuple):
    """What is to be at one moment."""

    down: bool | None
    """``None``: neither down nor up is asked for."""
    began: datetime | None
    """Of a down: when its window began; ``None``: it always was."""
    until: datetime | None
    """When the answer turns; ``None``: not within eight days."""


class Times(Protocol):
    """When something is to be down."""

    def answer(self, moment: datetime) -> tuple[Answer, datetime | None]:
        """The answer, its end not cut off, and until when it holds as it stands; ``None``: for eight days at least."""
        ...


@dataclass(frozen=True, slots=True)
class DownTimes:
    """Down inside some windows, outside others, on holidays; and days on which it stays up whatever those say."""

    down: Windows | None = None
    up: Windows | None = None
    """Outside these it is down."""
    holidays: Windows | None = None
    """Inside these it is down."""
    kept_up: Windows | None = None
    """Inside these it is up."""

    def has(self, moment: datetime) -> bool:
        """Whether it is down."""
        if self.kept_up is not None and self.kept_up.has(moment):
            return False
        return any(windows is not None and windows.has(moment) for windows in (self.down, self.holidays)) or (
            self.up is not None and not self.up.has(moment)
        )

    def answer(self, moment: datetime) -> tuple[Answer, datetime | None]:
        """Down or up, never neither."""
        down, until = self.has(moment), next_turn(self.has, self._edges, moment, _SOUGHT)
        reach = min(windows.reach(moment) for windows in self._all)
        return Answer(down, last_turn(self.has, self._edges, moment, reach) if down else None, until), until

    @property
    def _all(self) -> tuple[Windows, ...]:
        every = (self.down, self.up, self.holidays, self.kept_up)
        return tuple(windows for windows in every if windows is not None)

    def _edges(self, begin: datetime, end: datetime) -> Iterator[datetime]:
        return (edge for windows in self._all for edge in windows.edges(begin, end))


@dataclass(frozen=True, slots=True)
class PeriodTimes:
    """Down from the begin of one period to the begin of another, as kube-downscaler's periods are meant.

    A period sets a direction, which lasts until a period of the other direction begins. Where both hold, neither sets
    any. Each down period has a window of its own, so that what somebody put up after one goes down with the next.
    """

    down: Windows
    up: Windows

    def answer(self, moment: datetime) -> tuple[Answer, datetime | None]:
        """Neither, where no period was ever."""
        spot = self._decided(moment)
        direction = None if spot is None else self._sets(spot)
        began = self.down.began(spot) if spot is not None and direction else None
        return Answer(direction, began, self._turn(moment)), next_turn(self._state, self._edges, moment, _SOUGHT)

    def _decided(self, moment: datetime) -> datetime | None:
        """The last moment at which a period set a direction."""
        if self._sets(moment) is not None:
            return moment
        reach = min(self.down.reach(moment), self.up.reach(moment))
        turn = last_turn(self._sets, self._edges, moment, reach)
        return None if turn is None else turn - _INSTANT

    def _turn(self, moment: datetime) -> datetime | None:
        """When a period sets another direction than the one in force."""
        spot = self._decided(moment)
        same = {None, None if spot is None else self._sets(spot)}
        limit = moment + _SOUGHT
        turn: datetime | None = moment
        while turn is not None:
            turn = next_turn(self._sets, self._edges, turn, limit - turn)
            if turn is not None and self._sets(turn) not in same:
                return turn
        return None

    def _sets(self, moment: datetime) -> bool | None:
        down, up = self._state(moment)
        return None if down == up else down

    def _state(self, moment: datetime) -> tuple[bool, bool]:
        return self.down.has(moment), self.up.has(moment)

    def _edges(self, begin: datetime, end: datetime) -> Iterator[datetime]:
        yield from self.down.edges(begin, end)
        yield from self.up.edges(begin, end)


class Timeline:
    """Asks times, and keeps the last answer for as long as it holds."""

    __slots__ = ("_answer", "_from", "_times", "_to")

    def __init__(self, times: Times) -> None:
        self._times = times
        self._from = self._to = datetime.min.replace(tzinfo=UTC)
        self._answer = Answer(None, None, None)

    def at(self, now: datetime) -> Answer:
        """What is to be at a moment."""
        if not self._from <= now < self._to:
            moment = now.astimezone(UTC)
            self._answer, until = self._times.answer(moment)
            self._from, self._to = moment, until or moment + _TOLD
        answer = self._answer
        if answer.until is not None and answer.until - now > _TOLD:
            return answer._replace(until=None)
        return answer
