"""What a former kube-downscaler left down: taken over as if this controller had put it down.

kube-downscaler notes the replicas that it found in ``downscaler/original-replicas``, and takes the note away when it
brings an object back. So an object that bears one and stands lower was put down by it, and the note is the original.
"""

from dataclasses import replace
from datetime import datetime

from controller.scaling.downscaler_words import ORIGINAL, ORIGINAL_PAUSE, read_original
from controller.scaling.model import Levers, Seen, Wish
from controller.scaling.record import RECORD, Record
from controller.time_windows import SpecRefused

POLICY = "kube-downscaler"
"""In place of a policy in records of what is taken over."""


def taken_over(seen: Seen, wish: Wish, now: datetime) -> Seen:
    """An object as it would be had this controller put it down; itself, where there is nothing to take over.

    Only what a schedule concerns and may be written is taken over: a kube-downscaler that is still at work on other
    objects, or beside a dry run, is not disturbed.
    """
    if RECORD in seen.annotations or wish.wished not in {"down", "up"} or wish.dry_run:
        return seen
    was = left_down(seen)
    if was is None:
        return seen
    record = Record(seen.ref.kind, was, seen.levers, seen.generation, POLICY, now, wish.window)
    return replace(seen, annotations={**seen.annotations, RECORD: record.write()})


def left_down(seen: Seen) -> Levers | None:
    """The levers that a former kube-downscaler meant to give back; ``None``: it left nothing, or it is up again.

    A note that is no number leaves ``None`` too: the wish of such an object is ``unclear``.
    """
    note = seen.annotations.get(ORIGINAL)
    if note is None:
        return None
    try:
        original = read_original(note)
    except SpecRefused:
        return None
    levers = seen.levers
    if "pausedReplicas" in levers:
        # of a pause that somebody had set it keeps the value elsewhere; of none it notes a number of no use
        before, paused = seen.annotations.get(ORIGINAL_PAUSE), levers["pausedReplicas"]
        return None if paused is None or paused == before else {**levers, "pausedReplicas": before}
    if "suspend" in levers:
        return {**levers, "suspend": False} if levers["suspend"] is True and original > 0 else None
    return _raised(levers, original)


def _raised(levers: Levers, original: int) -> Levers | None:
    for name in ("replicas", "minReplicas"):
        present = levers.get(name)
        if isinstance(present, int) and present < original:
            return {**levers, name: original}
    return None
