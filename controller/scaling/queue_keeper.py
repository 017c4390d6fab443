"""Keeps the KEDA ScaledObjects of inference workloads: makes those that are missing, moves bounds at window edges.

Level-triggered: an edge that was missed is made up for. Touches only objects that bear its own label, and of these only
the two bounds and its mark; whoever edits the rest of one keeps it, and who puts the bounds back again and again too.
What leaves the settings is taken back as its mark tells. KEDA scales; nothing here does.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Literal, Protocol

from collectors.errors import Unavailable
from collectors.kube_json import JsonObject
from controller.scaling import queue_undo
from controller.scaling.act import Wrote
from controller.scaling.compose import AUTOSCALER, SCALED_OBJECT, View
from controller.scaling.decide import MOST_REVERTS
from controller.scaling.kind import Kind
from controller.scaling.kinds.scaled_object import SCALED_OBJECT as KIND
from controller.scaling.model import Ref, Seen
from controller.scaling.patches import Patch
from controller.scaling.queue_book import Action, Deed
from controller.scaling.queue_mark import (
    LABEL,
    MARK,
    OURS,
    BrokenMark,
    Mark,
    bounds_body,
    is_copy,
    is_undone,
    mark_of,
    moved,
    name_of,
    told,
    undo_of,
)
from controller.scaling.queue_scaling import Bounds, NoPrometheus, bounds_at, scaled_object
from controller.scaling.queue_settings import QueueScaling, QueueScalingSettings
from controller.scaling.refused_writes import MOST_WAIT, holds, wait_after
from ledger.store_errors import StoreError

UNSEEN: Final = timedelta(minutes=1)
"""One that was made is seen before."""


class Hand(queue_undo.Hand, Protocol):
    """The API server, at its pace."""

    def create(self, kind: Kind, ref: Ref, item: JsonObject, /) -> Wrote:
        """Make one object."""
        ...


class Book(Protocol):
    """Where it is recorded; see :class:`controller.scaling.queue_book.QueueBook`."""

    def intend(self, deed: Deed, /) -> None:
        """Commit the intent."""
        ...

    def note(self, deed: Deed, wrote: Wrote, now: datetime, /) -> None:
        """Take what became of it."""
        ...

    def remark(self, deed: Deed, result: Literal["done", "refused"], why: str, now: datetime, /) -> None:
        """Take why it was not done."""
        ...


class Served(View, Protocol):
    """The cluster as it was last seen."""

    def ready(self) -> bool:
        """Whether all kinds that there are were listed."""
        ...

    def served(self, kind: str, /) -> str:
        """The version in which the API server has a kind; empty where it has none."""
        ...

    @property
    def unreadable(self) -> Mapping[Ref, str]:
        """Objects that are not understood, and why."""
        ...

    @property
    def forbidden(self) -> Mapping[str, str]:
        """By kind, the right that is missing to see it."""
        ...

    @property
    def failing(self) -> Mapping[str, str]:
        """By kind, why it is not followed now."""
        ...


@dataclass(frozen=True, slots=True)
class _Tried:
    """A deed that did not succeed."""

    deed: Deed
    wrote: Wrote
    at: datetime
    tries: int

    def holds(self, now: datetime) -> bool:
        """Whether it is not tried again yet."""
        return holds(self.at, wait_after(self.tries, MOST_WAIT), now)


def _apart(keep: Callable[[], str]) -> str:
    """Why one object could not be brought where it should be; whatever befalls it, the others are."""
    try:
        return keep()
    except Exception as error:  # noqa: BLE001  (whatever it is, it is this object's alone, and is told)
        return f"{type(error).__name__}: {error!s:.200}"


@dataclass(slots=True)
class QueueKeeper:
    """The job.

    Args:
        settings: what is to be there.
        view: what is.
        hand: writes.
        book: where it is recorded before and after.
        now: the time.
        dry_run: whether it only says what it would do.
    """

    settings: QueueScalingSettings
    view: Served
    hand: Hand
    book: Book
    now: Callable[[], datetime]
    dry_run: Callable[[], bool]
    _tried: dict[Ref, _Tried] = field(default_factory=dict[Ref, _Tried])
    _past: dict[Ref, tuple[str, datetime]] = field(default_factory=dict[Ref, tuple[str, datetime]])
    """The version that each was last written on, and when; while it is seen at that one, our write is not seen."""
    _times: dict[tuple[Ref, str], tuple[object, int]] = field(default_factory=dict[tuple[Ref, str], tuple[object, int]])
    """How often each was made, or moved, to the same bounds of the same time."""

    def run(self) -> None:
        """Bring all to what they should be now.

        Raises:
            Unavailable: some could not be; each is named, and the others are.
        """
        if not self.view.ready():
            return
        if self.settings.workloads and not self.view.served(SCALED_OBJECT):
            raise Unavailable("the cluster has no ScaledObject: install KEDA, or set queue_scaling.write: false")
        if failed := list(self._keep_all(self.now())):
            raise Unavailable("; ".join(failed))

    def _keep_all(self, now: datetime) -> Iterator[str]:
        """Why some could not be brought there."""
        self._settle(now)
        kept = {Ref(SCALED_OBJECT, each.namespace, each.name): each for each in self.settings.workloads}
        for ref, scaling in kept.items():
            if why := _apart(partial(self._keep, ref, scaling, now)):
                yield f"{ref}: {why}"
        for seen in self.view.objects(SCALED_OBJECT):
            if is_undone(seen) or seen.ref in kept:
                continue
            if why := _apart(partial(self._undo, seen, now)):
                yield f"{seen.ref}: it is not in queue_scaling.workloads any more: {why}"

    def _settle(self, now: datetime) -> None:
        """Forget what was tried and stands by now; where an answer was lost, it was done."""
        for ref, tried in list(self._tried.items()):
            seen = self.view.get(ref)
            stands = tried.deed.after == (None if seen is None else seen.bounds)
            if stands and (tried.deed.action != "undo_scaler" or is_undone(seen)):
                del self._tried[ref]
                if tried.wrote.result == "unknown":
                    self.book.note(tried.deed, Wrote("done"), now)

    def _keep(self, ref: Ref, scaling: QueueScaling, now: datetime) -> str:
        seen, bounds = self.view.get(ref), bounds_at(scaling, self.settings.timezone, now)
        if self._is_pending(ref, seen, now):
            return ""
        subject = Ref(scaling.kind, scaling.namespace, scaling.name)
        workload, after = self.view.get(subject), (bounds.least, bounds.most)
        why = f"bounds of {told(after)}, {bounds.why}" + (f"; no {subject} is seen" if workload is None else "")
        action: Action = "make_scaler" if seen is None else "move_bounds"
        deed = Deed(action, ref, subject, why, after, now, seen, workload, bounds.until)
        if why := self._against(deed):
            self.book.remark(deed, "refused", why, now)
            return why
        if seen is None:
            return self._make(deed, scaling, bounds, now)
        if seen.deleting or seen.bounds == deed.after:
            return ""
        return self._do(deed, lambda: self._move(seen, bounds), now)

    def _against(self, deed: Deed) -> str:
        """Why it must not be made or moved; empty: nothing is against it."""
        if deed.seen is not None:
            if deed.seen.labels.get(LABEL) != OURS:
                return f"left alone as somebody else's: label it {LABEL}={OURS}, or take it out of queue_scaling"
            if deed.seen.deleting or deed.seen.bounds == deed.after:
                return ""
            return self._contested(deed, deed.seen)
        return self._against_making(deed)

    def _against_making(self, deed: Deed) -> str:
        if (broken := self.view.unreadable.get(deed.ref)) is not None:
            return f"it is there, and cannot be read: {broken}"
        unseen = {**self.view.failing, **self.view.forbidden}
        for kind in (AUTOSCALER, SCALED_OBJECT):
            if kind in unseen:
                return f"not made, since whether another {kind} scales the workload cannot be seen: {unseen[kind]}"
            for other in self.view.scalers_of(kind, deed.subject):
                if not any(owner.kind == SCALED_OBJECT for owner in other.owners):
                    return (
                        f"not made, since {other.ref} scales {deed.subject} already and the two would fight: "
                        "delete that one, or take the workload out of queue_scaling"
                    )
        return self._made_in_vain(deed)

    def _contested(self, deed: Deed, seen: Seen) -> str:
        try:
            mark = mark_of(seen)
        except BrokenMark as error:
            return f"left alone: {error}"
        moves = self._count(deed)
        if mark is not None and not is_copy(seen, mark) and (mark.put, mark.until) == (deed.after, _until(deed.until)):
            moves = max(moves, mark.moves)
        if moves < MOST_REVERTS:
            return ""
        return (
            f"contested: somebody put its bounds back {moves} times, so theirs stand"
            + ("" if deed.until is None else f" until {deed.until.isoformat()}")
            + ": take the two fields out of Git, or let it ignore them"
        )

    def _made_in_vain(self, deed: Deed) -> str:
        made = self._count(deed)
        return (
            f"contested: somebody deleted it {made} times: take it out of queue_scaling" if made >= MOST_REVERTS else ""
        )

    def _count(self, deed: Deed) -> int:
        when, count = self._times.get((deed.ref, deed.action), (None, 0))
        return count if when == (deed.after, deed.until) else 0

    def _is_pending(self, ref: Ref, seen: Seen | None, now: datetime) -> bool:
        version, at = self._past.get(ref, ("", now))
        if ref not in self._past:
            return False
        fresh = not version and at <= now < at + UNSEEN
        if fresh if seen is None else seen.version == version:
            return True
        del self._past[ref]
        return False

    def _undo(self, seen: Seen, now: datetime) -> str:
        undo = undo_of(seen)
        if undo is None or seen.deleting or self._is_pending(seen.ref, seen, now):
            return ""
        kind, name = seen.scales or (seen.ref.kind, seen.ref.name)
        subject = Ref(kind, seen.ref.namespace, name)
        deed = Deed("undo_scaler", seen.ref, subject, undo.why, undo.bounds, now, seen, self.view.get(subject))
        if undo.action == "leave":
            self.book.remark(deed, "refused", undo.why, now)
            return undo.why
        patch = undo.patch
        if patch is None:
            return self._do(deed, lambda: self.hand.delete(KIND, seen), now)
        return self._do(deed, lambda: self.hand.write(KIND, seen.ref, patch, seen.version), now)

    def _do(self, deed: Deed, write: Callable[[], Wrote], now: datetime) -> str:
        """Do it, recorded before and after; why it was not."""
        if self.dry_run():
            self.book.remark(deed, "done", f"dry run: {deed.why}", now)
            return ""
        former = self._tried.get(deed.ref)
        if former is not None and (former.deed.action, former.deed.after) != (deed.action, deed.after):
            former = None
        if former is not None:
            if former.holds(now):
                return former.wrote.why
            deed = replace(deed, at=former.deed.at)
        try:
            if former is None:
                self.book.intend(deed)
        except StoreError as error:
            return str(error)
        try:
            wrote = write()
        except Exception as error:  # noqa: BLE001  (whatever it is: an intent without a result is tried ever later too)
            wrote = Wrote("unknown", why=f"{type(error).__name__}: {error!s:.200}")
        return self._take(deed, former, wrote, now)

    def _take(self, deed: Deed, former: _Tried | None, wrote: Wrote, now: datetime) -> str:
        if former is None or (wrote.result, wrote.why) != (former.wrote.result, former.wrote.why):
            self.book.note(deed, wrote, now)
        if wrote.result == "done":
            self._tried.pop(deed.ref, None)
            self._past[deed.ref] = ("" if deed.seen is None else deed.seen.version), now
            self._times[deed.ref, deed.action] = (deed.after, deed.until), self._count(deed) + 1
            return ""
        if wrote.result == "conflict" and deed.seen is not None:  # changed meanwhile, and looked at again
            return ""
        self._tried[deed.ref] = _Tried(deed, wrote, now, 1 if former is None else former.tries + 1)
        return "" if wrote.result == "conflict" else wrote.why

    def _make(self, deed: Deed, scaling: QueueScaling, bounds: Bounds, now: datetime) -> str:
        try:
            item = scaled_object(scaling, self.settings, now)
        except NoPrometheus as error:
            return str(error)
        mark = Mark((bounds.least, bounds.most), None, 1, _until(bounds.until), 0, name_of(deed.ref), now)
        item["metadata"]["annotations"] = {MARK: mark.write()}
        return self._do(deed, lambda: self.hand.create(KIND, deed.ref, item), now)

    def _move(self, seen: Seen, bounds: Bounds) -> Wrote:
        put = bounds.least, bounds.most
        mark = moved(seen, mark_of(seen), put, _until(bounds.until))
        body = {"metadata": {"annotations": {MARK: mark.write()}}, "spec": bounds_body(put)}
        return self.hand.write(KIND, seen.ref, Patch("object", body), seen.version)


def _until(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat()
