"""What is to be done with one object, from what it is, what it bears, and what is wished: pure, the same every time.

The states of an object, by its record and its levers:

| record | levers | state |
| --- | --- | --- |
| none | any | nobody's but its owner's |
| there, or restoring | as they stood when it was written | decided and not done: a death between two writes |
| there | as put | down |
| there | as found | somebody put it back: a revert |
| there | neither | somebody changed it: theirs stands |
| restoring | as found | back; its pods may not be Ready yet |
| restoring | other | somebody changed it while it came back: theirs stands |
| no record of ours | any | broken: left alone and reported |

So a death at any moment, a missed tick or a lost answer changes nothing: the next look sees the same table. Only kinds
with a scale subresource take two writes. Where the levers stand as they stood, the object's generation tells whether
the second write was not done, or was done and undone by somebody: then it has grown by two or more. What others change
makes it grow too, so its growth alone never leaves a workload down.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from controller.scaling.down_label import is_remade
from controller.scaling.kind import Kind
from controller.scaling.model import Levers, Seen, Value, Wish
from controller.scaling.record import BrokenRecord, Record, is_of_window, record_of

MOST_REVERTS = 2
"""After so many within one window a workload is contested, and left alone until the window ends."""

Action = Literal["nothing", "down", "raise", "restore", "await", "finish", "give_way", "contested", "broken", "unclear"]
"""``raise``: from one size that was put to a higher one, below the original. ``finish`` and ``give_way`` remove the
record and leave the levers; the last four and ``await`` write nothing."""


@dataclass(frozen=True, slots=True)
class Step:
    """What to do, and what the object bears afterwards."""

    action: Action
    why: str
    levers: Levers | None = None
    """To write; ``None``: they stay."""
    record: Record | None = None
    """To bear."""
    recorded: bool = False
    """The record stands on the object already: only the levers are to be written."""


def decide(
    seen: Seen,
    wish: Wish,
    kind: Kind,
    now: datetime,
    *,
    ready: bool,
    downs_before: int = 0,
    brought_back: datetime | None = None,
    instance_types: tuple[str, ...] = (),
) -> Step:
    """The next step for one object.

    Args:
        seen: the object that is written.
        wish: what is wanted of it now; the lead time of a restore is in it already.
        kind: of the object.
        now: the time.
        ready: whether the pods of its workload are Ready.
        downs_before: how often it was put down within the present window, as far as this is known from elsewhere than
            the object; for one whose record was taken away together with the change.
        brought_back: since when it was being brought back by a restore of which all writes are known to be done;
            ``None``: that is not known.
        instance_types: of the nodes on which its pods run, for the record of a down.
    """
    if seen.deleting:
        return Step("nothing", "it is being deleted")
    if wish.wished == "unclear":
        return Step("unclear", wish.why)
    try:
        record = record_of(seen)
    except BrokenRecord as error:
        return Step("broken", str(error))
    look = _Look(seen, wish, kind, now, instance_types)
    if record is None:
        return look.unmarked(downs_before)
    done = record.restoring is not None and record.restoring == brought_back
    return look.marked(record, downs_before, ready=ready, done=done)


@dataclass(frozen=True, slots=True)
class _Look:
    """One decision."""

    seen: Seen
    wish: Wish
    kind: Kind
    now: datetime
    instance_types: tuple[str, ...]

    @property
    def _wished_down(self) -> bool:
        return self.wish.wished == "down"

    def _counts(self, record: Record) -> bool:
        """Whether what it tells of reverts is of the window that is wished."""
        return is_of_window(record.window, record.at, self.wish.window, self.now)

    def unmarked(self, reverts: int) -> Step:
        if not self._wished_down:
            return Step("nothing", self.wish.why)
        if self.seen.finished:
            return Step("nothing", "it has ended")
        return self._put_down(reverts) or Step("nothing", "it is at that size already, or below")

    def marked(self, record: Record, downs_before: int, *, ready: bool, done: bool) -> Step:
        if record.restoring is not None:
            return self._restoring(record, ready=ready, done=done)
        if self.seen.levers == record.put:
            return self._down(record)
        if self._stands_as_before(record) and (self._untouched(record) or self.seen.levers != record.was):
            return self._undone(record)
        if self.seen.levers == record.was:
            return self._reverted(record, downs_before)
        if self._wished_down and record.window == self.wish.window:
            return Step("nothing", "somebody changed it since it was put down: theirs stands until the window ends")
        return Step("give_way", "somebody changed it since it was put down: theirs stands")

    def _stands_as_before(self, record: Record) -> bool:
        """Whether the levers are those that stood when the record was written, by itself, before them."""
        return self.kind.scale_subresource and self.seen.levers == (record.stood or record.was)

    def _untouched(self, record: Record) -> bool:
        """Whether the levers were surely not written since the record was: there and back takes two writes."""
        grown = self.seen.generation - record.generation
        return grown < 2 + self.kind.generation_counts_annotations

    def _restoring(self, record: Record, *, ready: bool, done: bool) -> Step:
        if self.seen.levers != record.was:
            if done or not self._stands_as_before(record):
                return Step("give_way", "somebody changed it while it was coming back: theirs stands")
            if self._untouched(record):
                return Step("restore", self.wish.why, record.was, record, recorded=True)
            if record.reverts >= MOST_REVERTS:
                return Step("give_way", "somebody puts it down again whenever it is brought back: theirs stands")
            again = replace(record, generation=self.seen.generation, reverts=record.reverts + 1)
            return Step("restore", self.wish.why, record.was, again)
        if self._wished_down:
            reverts = record.reverts if self._counts(record) else 0
            return self._put_down(reverts) or Step("finish", "it is as wished")
        return Step("finish", "it is as it was") if ready else Step("await", "its pods are not Ready yet")

    def _undone(self, record: Record) -> Step:
        """The record was written, and then nothing."""
        if not self._wished_down:
            if self.seen.levers == record.was:
                return Step("finish", "it was not put down")
            return self._restore(record)
        wanted = self._wanted(record)
        if wanted is not None and wanted == record.put:
            return self._towards(wanted, record, recorded=True)
        return self._down(record)

    def _down(self, record: Record) -> Step:
        if not self._wished_down:
            return self._restore(record)
        wanted = self._wanted(record)
        if wanted is None:  # it was at that size before anything was done to it
            return self._restore(record)
        if wanted == self.seen.levers:
            return Step("nothing", "it is down")
        changed = replace(
            record,
            put=wanted,
            stood=self.seen.levers,
            generation=self.seen.generation,
            policy=self.wish.policy,
            window=self.wish.window,
        )
        return self._towards(wanted, changed, recorded=False)

    def _reverted(self, record: Record, downs_before: int) -> Step:
        if not self._wished_down:
            return Step("finish", "somebody put it back before its time")
        known = self._counts(record) and not is_remade(record)
        reverts = record.reverts + 1 if known else downs_before
        return self._put_down(reverts) or Step("finish", "it is as wished")

    def _wanted(self, record: Record) -> Levers | None:
        return self.kind.down(replace(self.seen, levers=record.was), self.wish.size)

    def _towards(self, wanted: Levers, record: Record, *, recorded: bool) -> Step:
        """Down, or up again to a size below the original, which no guard is asked about."""
        action: Action = "raise" if _is_more(wanted, self.seen.levers) else "down"
        return Step(action, self.wish.why, wanted, record, recorded=recorded)

    def _restore(self, record: Record) -> Step:
        due = max(self.now, self.wish.due or self.now)
        stood, generation = self.seen.levers, self.seen.generation
        coming = replace(record, restoring=self.now, due=due, stood=stood, generation=generation)
        return Step("restore", self.wish.why, record.was, coming)

    def _put_down(self, reverts: int) -> Step | None:
        """Down from where it is; ``None``: it is there already."""
        levers = self.kind.down(self.seen, self.wish.size)
        if levers is None:
            return None
        if reverts >= MOST_REVERTS:
            where = "in this window: it is left alone" if self.wish.window else "within a day: it is left alone for one"
            return Step("contested", f"somebody put it back {reverts} times {where}")
        record = Record(
            kind=self.seen.ref.kind,
            was=self.seen.levers,
            put=levers,
            generation=self.seen.generation,
            policy=self.wish.policy,
            at=self.now,
            window=self.wish.window,
            reverts=reverts,
            instance_types=self.instance_types,
        )
        return Step("down", self.wish.why, levers, record)


def _is_more(wanted: Levers, present: Levers) -> bool:
    """Whether a count among the levers grows; what is suspended knows no sizes between."""
    return any(_count(value) > _count(present[name]) for name, value in wanted.items())


def _count(value: Value) -> int:
    return int(value) if isinstance(value, int | str) and str(value).isdecimal() else 0


def record_or_none(seen: Seen) -> Record | None:
    """The record of an object, where it bears one that is understood."""
    try:
        return record_of(seen)
    except Exception:  # noqa: BLE001  (whatever it is, it is not understood; who decides on the object tells why)
        return None
