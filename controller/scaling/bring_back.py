"""Brings back all that bears a record, needing nothing but the API server and the objects.

Owns trying again: a conflict, or an answer that did not come, is looked at anew until it is known how the object
stands. What somebody changed meanwhile stays theirs, as in the controller.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from collectors.clock import NS_PER_SECOND, Clock
from collectors.errors import SourceError, Unsupported
from collectors.kube_api import KubeApi
from collectors.kube_errors import Malformed, Refused
from collectors.kube_follow import Backoff
from controller.scaling.act import Writes
from controller.scaling.decide import Step, decide, record_or_none
from controller.scaling.down_label import believed
from controller.scaling.kind import Kind
from controller.scaling.model import Levers, Ref, Seen, Wish
from controller.scaling.patches import patches
from controller.scaling.record import COMMAND
from controller.scaling.trimmed import DROPPED_OF_KINDS
from controller.scaling.writer import object_path

AT_ONCE = 8
MOST_LOOKS = 12
"""At one object whose writes do not succeed, and that is not refused."""
_READY_LOOK_SECONDS = 2
_NOBODY = Wish("none", "everything is brought back")

Result = Literal["back", "theirs", "gone", "coming", "failed"]
"""``theirs``: somebody changed it, and that stands. ``coming``: it stands as it was, and is not Ready yet."""
OF_NO_CONCERN = frozenset({"back", "theirs", "gone"})


@dataclass(frozen=True, slots=True)
class Brought:
    """How one object ended."""

    ref: Ref
    result: Result
    why: str
    command: str = ""
    """The kubectl command that brings it back by hand; empty: none is needed, or known."""


@dataclass(frozen=True, slots=True)
class Server:
    """How objects are reached."""

    api: KubeApi
    kinds: Mapping[str, Kind]
    served: Callable[[str], str]
    """The version in which the server has a kind."""
    writes: Writes

    def again(self, ref: Ref) -> Seen:
        """One object as it stands.

        Raises:
            Unsupported: it is gone.
            Unavailable: it cannot be read.
        """
        kind = self.kinds[ref.kind]
        return believed(kind.seen(self.api.get(object_path(kind, self.served(ref.kind), ref), DROPPED_OF_KINDS)))


def would(seen: Seen, kind: Kind, now: datetime) -> Brought:
    """What bringing back would do to one object that bears a record; nothing is written."""
    step = decide(seen, _NOBODY, kind, now, ready=True)
    if step.action == "broken":
        return Brought(seen.ref, "failed", step.why, by_hand(seen, kind))
    if step.action == "restore":
        return Brought(seen.ref, "coming", f"would be {told(step.levers or {})} again")
    return Brought(seen.ref, "theirs" if step.action == "give_way" else "back", step.why)


def told(levers: Levers) -> str:
    """Levers as a person reads them."""
    return ", ".join(f"{name}={'unset' if value is None else value}" for name, value in levers.items())


def by_hand(seen: Seen, kind: Kind) -> str:
    """The kubectl command that gives back the original; empty: it is not known."""
    record = record_or_none(seen)
    return seen.annotations.get(COMMAND, "") if record is None else kind.command(seen, record.was)


class BringBack:
    """Brings back.

    Args:
        server: the objects.
        clock: for waits.
        now: the time, for records.
        wait_seconds: for so long it is waited until pods are Ready; 0: what stands as it was is done with.
    """

    def __init__(self, server: Server, clock: Clock, now: Callable[[], datetime], wait_seconds: float = 0.0) -> None:
        self._server = server
        self._clock = clock
        self._now = now
        self._wait_seconds = wait_seconds
        self._never = threading.Event()

    def run(self, marked: Sequence[Seen], tell: Callable[[Brought], None]) -> list[Brought]:
        """Bring back all of ``marked``; each is told as it ends."""
        deadline_ns = self._clock.monotonic_ns() + int(self._wait_seconds * NS_PER_SECOND)
        ended: list[Brought] = []
        coming: list[Brought] = []

        def take(brought: Brought) -> None:
            if brought.result == "coming" and self._clock.monotonic_ns() < deadline_ns:
                coming.append(brought)
                return
            ended.append(brought)
            tell(brought)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            for brought in pool.map(self._one, sorted(marked, key=lambda seen: seen.ref)):
                take(brought)
            while coming:
                self._clock.wait(self._never, _READY_LOOK_SECONDS * NS_PER_SECOND)
                looked, coming = coming, []
                for brought in pool.map(self._look_again, looked):
                    take(brought)
        return ended

    def _look_again(self, former: Brought) -> Brought:
        try:
            return self._one(self._server.again(former.ref))
        except Unsupported:
            return Brought(former.ref, "gone", "it was deleted meanwhile")
        except SourceError as error:
            return Brought(former.ref, "coming", f"it stands as it was; whether it is Ready is not known: {error}")

    def _one(self, seen: Seen) -> Brought:
        """Bring one back; the others come back whatever befalls."""
        try:
            return self._brought(seen)
        except Exception as error:  # noqa: BLE001  (whatever it is, it is this object's alone, and is told)
            return Brought(
                seen.ref, "failed", f"{type(error).__name__}: {error!s:.200}", seen.annotations.get(COMMAND, "")
            )

    def _brought(self, seen: Seen) -> Brought:
        """Go on from what is seen until it is back, or will not be."""
        kind, first, backoff = self._server.kinds[seen.ref.kind], seen, Backoff()
        restored, why = "", ""
        for _ in range(MOST_LOOKS):
            step = decide(seen, _NOBODY, kind, self._now(), ready=self._is_ready(seen))
            if step.action == "restore":
                restored = told(step.levers or {})
            if (ended := _ended(seen, step, kind, restored)) is not None:
                return ended
            result, why = self._write(step, seen, kind)
            if result in {"forbidden", "refused"}:
                break
            if result == "done" and step.action != "restore":
                how = f"it is {restored} again" if restored else step.why
                return Brought(seen.ref, "theirs" if step.action == "give_way" else "back", how)
            if result != "done":
                self._clock.wait(self._never, int(backoff.next_seconds() * NS_PER_SECOND))
            try:
                seen = self._server.again(seen.ref)
            except Unsupported:
                return Brought(seen.ref, "gone", "it was deleted meanwhile")
            except (Refused, Malformed) as error:
                why = str(error)
                break
            except SourceError as error:
                why = str(error)
        return Brought(first.ref, "failed", why, by_hand(first, kind))

    def _write(self, step: Step, seen: Seen, kind: Kind) -> tuple[str, str]:
        """Make a step's writes in order, until one does not succeed; how the last one ended, and why."""
        version = seen.version
        for patch in patches(step, seen, kind):
            wrote = self._server.writes.write(kind, seen.ref, patch, version)
            if wrote.result != "done":
                return wrote.result, wrote.why
            version = wrote.version
        return "done", ""

    def _is_ready(self, seen: Seen) -> bool:
        """Whether its pods, or those of what it scales, are Ready; always where nobody waits for it."""
        if not self._wait_seconds:
            return True
        if seen.scales is None or seen.scales[0] not in self._server.kinds:
            return seen.readiness.done
        try:
            return self._server.again(Ref(seen.scales[0], seen.ref.namespace, seen.scales[1])).readiness.done
        except Unsupported:
            return True  # what it scales is gone
        except SourceError:
            return False


def _ended(seen: Seen, step: Step, kind: Kind, restored: str) -> Brought | None:
    """How an object ended of which nothing is to be written; ``None``: something is."""
    if step.action == "nothing":
        if seen.deleting:
            return Brought(seen.ref, "gone", step.why)
        return Brought(seen.ref, "back", f"it is {restored} again" if restored else "another brought it back")
    if step.action == "broken":
        return Brought(seen.ref, "failed", step.why, by_hand(seen, kind))
    if step.action == "await":
        ready = seen.readiness
        return Brought(seen.ref, "coming", f"it stands as it was, and {ready.ready} of {ready.wanted} pods are Ready")
    return None
