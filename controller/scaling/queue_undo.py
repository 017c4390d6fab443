"""Takes back what was done to ScaledObjects, needing nothing but the API server and the marks on them.

What somebody changed meanwhile stays theirs, and is named. A conflict, or an answer that did not come, is looked at
anew.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from collectors.clock import NS_PER_SECOND, Clock
from collectors.errors import SourceError, Unsupported
from collectors.kube_errors import Malformed, Refused
from collectors.kube_follow import Backoff
from controller.scaling.act import Writes, Wrote
from controller.scaling.bring_back import MOST_LOOKS, Brought, Result, Server
from controller.scaling.kind import Kind
from controller.scaling.kinds.scaled_object import SCALED_OBJECT as KIND
from controller.scaling.model import Seen
from controller.scaling.queue_mark import Undo, undo_of
from controller.scaling.record import RECORD


class Hand(Writes, Protocol):
    """The API server, at its pace."""

    def delete(self, kind: Kind, seen: Seen, /) -> Wrote:
        """Delete one object if it still stands as it was seen."""
        ...


def would_undo(seen: Seen) -> Brought:
    """What taking back would do to one that bears a mark; nothing is written."""
    undo = undo_of(seen)
    if undo is None:
        return Brought(seen.ref, "back", "it bears no mark")
    will = undo.action in {"delete", "give_back"} or RECORD in seen.annotations
    return Brought(seen.ref, "coming" if will else _ends(undo), undo.why)


class TakeBack:
    """Takes back.

    Args:
        server: the objects.
        hand: writes.
        clock: for waits.
    """

    def __init__(self, server: Server, hand: Hand, clock: Clock) -> None:
        self._server = server
        self._hand = hand
        self._clock = clock
        self._never = threading.Event()

    def run(self, marked: Sequence[Seen], tell: Callable[[Brought], None]) -> list[Brought]:
        """Take back all of ``marked``, as they stand by now; each is told as it ends."""
        ended: list[Brought] = []
        for seen in marked:
            ended.append(self._apart(seen))
            tell(ended[-1])
        return ended

    def _apart(self, first: Seen) -> Brought:
        """Take one back; the others are taken back whatever befalls."""
        try:
            return self._one(first)
        except Exception as error:  # noqa: BLE001  (whatever it is, it is this object's alone, and is told)
            return Brought(first.ref, "failed", f"{type(error).__name__}: {error!s:.200}")

    def _one(self, first: Seen) -> Brought:
        backoff, done, why = Backoff(), "", ""
        for _ in range(MOST_LOOKS):
            try:
                seen = self._server.again(first.ref)
            except Unsupported:
                return Brought(first.ref, "gone", done or "it was deleted meanwhile")
            except (Refused, Malformed) as error:
                return Brought(first.ref, "failed", str(error))
            except SourceError as error:
                why = str(error)
            else:
                undo = undo_of(seen)
                if undo is None or seen.deleting:
                    return Brought(first.ref, "back", done or "another took it back")
                if undo.action == "leave":
                    return Brought(first.ref, _ends(undo), undo.why)
                done = undo.why
                result, why = self._write(seen, undo)
                if result == "done":
                    return Brought(first.ref, _ends(undo), done)
                if result in {"forbidden", "refused"}:
                    break
            self._clock.wait(self._never, int(backoff.next_seconds() * NS_PER_SECOND))
        return Brought(first.ref, "failed", why)

    def _write(self, seen: Seen, undo: Undo) -> tuple[str, str]:
        if undo.patch is None:
            wrote = self._hand.delete(KIND, seen)
        else:
            wrote = self._hand.write(KIND, seen.ref, undo.patch, seen.version)
        return wrote.result, wrote.why


def _ends(undo: Undo) -> Result:
    """How it ends once all is written."""
    if undo.action == "leave":
        return "theirs" if undo.theirs else "failed"
    return "theirs" if undo.action == "give_way" else "back"
