"""What kube-downscaler's annotations ``downscaler/...`` say, in the words of py-kube-downscaler and GoKubeDownscaler.

Owns their names, their values, and what a former kube-downscaler left on an object that it put down. Where the two
programs differ, the careful meaning is taken: excluded rather than scaled, up rather than down.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from controller.scaling.annotation_values import read_moment, read_seconds, read_size
from controller.scaling.down_times import DownTimes, PeriodTimes, Timeline
from controller.scaling.model import Levers, Seen, Size
from controller.scaling.said import Force, Said, Timed
from controller.time_windows import SpecRefused, known_zone, parse
from controller.window_kinds import Windows

PREFIX: Final = "downscaler/"
UPTIME = PREFIX + "uptime"
DOWNTIME = PREFIX + "downtime"
UPSCALE_PERIOD = PREFIX + "upscale-period"
DOWNSCALE_PERIOD = PREFIX + "downscale-period"
EXCLUDE = PREFIX + "exclude"
EXCLUDE_UNTIL = PREFIX + "exclude-until"
FORCE_UPTIME = PREFIX + "force-uptime"
FORCE_DOWNTIME = PREFIX + "force-downtime"
REPLICAS = PREFIX + "downtime-replicas"
GO_REPLICAS = PREFIX + "downscale-replicas"
GRACE = PREFIX + "grace-period"
ORIGINAL = PREFIX + "original-replicas"
ORIGINAL_PAUSE = PREFIX + "original-pause-replicas"

KNOWN = frozenset(
    {
        UPTIME,
        DOWNTIME,
        UPSCALE_PERIOD,
        DOWNSCALE_PERIOD,
        EXCLUDE,
        EXCLUDE_UNTIL,
        FORCE_UPTIME,
        FORCE_DOWNTIME,
        REPLICAS,
        GO_REPLICAS,
        GRACE,
    }
)
"""Those that say what is wished. All others are passed over, as that program does."""
_ORIGINAL_NUMBER = re.compile(r"-?[0-9]{1,9}")
_Value = TypeVar("_Value")


def read(annotations: Mapping[str, str], zone: str) -> tuple[Said, dict[str, tuple[str, ...]]]:
    """What they say, and by topic which of them say it.

    Args:
        annotations: those of :data:`KNOWN` that an object bears.
        zone: IANA name, of windows that name none.
    """
    return _Reading(annotations, zone).said()


def left_down(seen: Seen) -> Levers | None:
    """The levers that a former kube-downscaler means to give back; ``None``: it left nothing, or it is up again.

    It notes the replicas that it found in ``downscaler/original-replicas``, and takes that away when it brings an
    object back. So an object that bears it and stands lower was put down by it, and what it notes is the original.

    Raises:
        SpecRefused: the annotation is no number, so that the original is not known.
    """
    text = seen.annotations.get(ORIGINAL)
    if text is None:
        return None
    if not _ORIGINAL_NUMBER.fullmatch(text.strip()):
        raise SpecRefused(text, 0, len(text), f"{ORIGINAL}: {text!r} is no number of replicas")
    return _left(seen, int(text))


def _left(seen: Seen, original: int) -> Levers | None:
    """By the lever that its kind has."""
    levers = seen.levers
    if "pausedReplicas" in levers:  # it notes a pause that somebody had set elsewhere, and of none a number of no use
        before = seen.annotations.get(ORIGINAL_PAUSE)
        paused = levers["pausedReplicas"]
        return None if paused is None or paused == before else {**levers, "pausedReplicas": before}
    if "suspend" in levers:
        return {**levers, "suspend": False} if levers["suspend"] is True and original > 0 else None
    for name in ("replicas", "minReplicas"):
        present = levers.get(name)
        if isinstance(present, int) and present < original:
            return {**levers, name: original}
    return None


class _Reading:
    """One object's annotations, topic by topic."""

    def __init__(self, annotations: Mapping[str, str], zone: str) -> None:
        self._annotations = annotations
        self._zone = zone
        self._unclear: list[str] = []
        self._lost: list[str] = []
        self._keys: dict[str, tuple[str, ...]] = {}

    def said(self) -> tuple[Said, dict[str, tuple[str, ...]]]:
        times = self._times()
        exclude = self._one("exclude", EXCLUDE, self._exclude)
        until = self._one("exclude_until", EXCLUDE_UNTIL, lambda text: read_moment(text, known_zone("UTC")))
        forces, size = self._forces(), self._size()
        grace = self._one("grace_seconds", GRACE, read_seconds)
        said = Said(
            times=times,
            exclude=exclude,
            exclude_until=until,
            forces=forces,
            size=size,
            grace_seconds=grace,
            unclear=tuple(self._unclear),
            disagree=tuple(self._lost),
        )
        return said, self._keys

    def _one(self, topic: str, key: str, read_value: Callable[[str], _Value]) -> _Value | None:
        text = self._annotations.get(key)
        if text is None:
            return None
        self._keys[topic] = (*self._keys.get(topic, ()), key)
        try:
            return read_value(text)
        except SpecRefused as refused:
            self._unclear.append(f"{key}: {refused}")
            return None

    def _windows(self, topic: str, key: str) -> Windows | None:
        return self._one(topic, key, lambda text: parse(text, self._zone, "downscaler"))

    def _times(self) -> Timed | None:
        strict = self._schedule()
        down, up = self._windows("times", DOWNSCALE_PERIOD), self._windows("times", UPSCALE_PERIOD)
        # a period that never is says the same as none
        if all(windows is None or windows.spec.strip().lower() in {"never", "false"} for windows in (down, up)):
            return strict
        if strict is not None:
            self._lost += strict.keys
        never = parse("never")
        times = PeriodTimes(down or never, up or never)
        return self._timed(Timeline(times), (DOWNSCALE_PERIOD, UPSCALE_PERIOD))

    def _schedule(self) -> Timed | None:
        """Up inside uptime and not inside downtime."""
        down, up = self._windows("times", DOWNTIME), self._windows("times", UPTIME)
        if down is None and up is None:
            return None
        return self._timed(Timeline(DownTimes(down=down, up=up)), (DOWNTIME, UPTIME))

    def _timed(self, timeline: Timeline, keys: tuple[str, ...]) -> Timed:
        there = tuple(key for key in keys if key in self._annotations)
        wording = ", ".join(f"{key.removeprefix(PREFIX)} {self._annotations[key]}" for key in there)
        return Timed(timeline, wording, there)

    def _exclude(self, text: str) -> Timed:
        """``false``, windows, or anything else, which one of the two programs takes for true."""
        try:
            windows = parse(text, self._zone, "downscaler")
        except SpecRefused:
            windows = parse("always")
        return Timed(Timeline(DownTimes(down=windows)), text.strip(), (EXCLUDE,))

    def _forces(self) -> tuple[Force, ...] | None:
        up, down = self._force(FORCE_UPTIME), self._force(FORCE_DOWNTIME)
        if up is None and down is None:
            return None
        forces = [Force("up", up)] if up is not None else []
        return (*forces, *([Force("down", down)] if down is not None else []))

    def _force(self, key: str) -> Timed | None:
        windows = self._windows("forces", key)
        return None if windows is None else self._timed(Timeline(DownTimes(down=windows)), (key,))

    def _size(self) -> Size | None:
        theirs = self._one("size", REPLICAS, read_size)
        go = self._one("size", GO_REPLICAS, read_size)
        if theirs is not None and go is not None and theirs != go:
            self._lost.append(GO_REPLICAS)
        return theirs if theirs is not None else go
