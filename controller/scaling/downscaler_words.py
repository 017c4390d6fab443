"""What kube-downscaler's annotations ``downscaler/...`` say, in the words of py-kube-downscaler and GoKubeDownscaler.

Owns their names and their values. Where the two programs differ, the careful meaning is taken: excluded rather than
scaled, up rather than down.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from controller.scaling.annotation_values import read_moment, read_number, read_seconds, read_size
from controller.scaling.down_times import DownTimes, PeriodTimes, Timeline
from controller.scaling.model import Size
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
        ORIGINAL,
    }
)
"""Those that are read. All others are passed over, as that program does."""
_LARGEST = 2**31  # what it notes of a ScaledObject that was not paused
_Value = TypeVar("_Value")


def read_original(text: str) -> int:
    """The replicas that it found; -1 of a ScaledObject that was not paused.

    Raises:
        SpecRefused: it is no number, so that the original is not known.
    """
    return read_number(text, -1, _LARGEST)


def read(annotations: Mapping[str, str], zone: str) -> tuple[Said, dict[str, tuple[str, ...]]]:
    """What they say, and by topic which of them say it.

    Args:
        annotations: those of :data:`KNOWN` that an object bears.
        zone: IANA name, of windows that name none.
    """
    return _Reading(annotations, zone).said()


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
        self._one("original", ORIGINAL, read_original)  # one that is not known leaves the object untouched
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
