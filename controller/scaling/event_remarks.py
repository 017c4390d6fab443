"""What keeps a workload as it is, as Events for its owner: told when it begins, when it changes, and each hour.

Owns what was told lately: looks come every few seconds, and each would be a write to the API server.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from controller.scaling.act import Task
from controller.scaling.events import About, EventText, about, text_of
from ledger.audit import Result

AGAIN = timedelta(hours=1)
"""API servers forget Events after so long."""
MOST_TOLD = 20_000

_Key = tuple[str, str, str]


class Tell(Protocol):
    """Takes an Event."""

    def __call__(self, about: About, text: EventText, now: datetime, /) -> None:
        """It waits for nothing."""
        ...


@dataclass(slots=True)
class EventRemarks:
    """Tells.

    Args:
        tell: such as :meth:`controller.scaling.events.Events.tell`.
    """

    tell: Tell
    _told: "OrderedDict[_Key, tuple[EventText, datetime]]" = field(
        default_factory=OrderedDict[_Key, tuple[EventText, datetime]]
    )
    """By object and reason, the longest ago first."""

    def remark(self, task: Task, result: Result, why: str, now: datetime) -> None:
        """Tell it, where it is something that its owner should know and was not told lately."""
        action = task.step.action
        text = text_of(task, None) if action in {"contested", "broken", "unclear"} else None
        if action in {"await", "restore"}:
            text = EventText("ScheduleOverdue", why, "Warning")
        if text is None or result == "done":
            return
        object_ = about(task.lever, task.kind)
        key = object_.uid, object_.name, text.reason
        said, when = self._told.get(key, (None, now))
        if said == text and now - when < AGAIN:
            return
        self._told.pop(key, None)
        self._told[key] = text, now
        while len(self._told) > MOST_TOLD:
            self._told.popitem(last=False)
        self.tell(object_, text, now)
