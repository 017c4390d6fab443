"""The shapes of simulated work: how busy it is, and how much it waits for data, in each step of the week.

Owns the shapes' settings and curves. Chance comes from a generator seeded by scenario and workload, never a clock.
"""

import math
import random
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from collectors.simulated_strict import Strict
from collectors.simulated_week import STEP_SECONDS, STEPS_PER_DAY, STEPS_PER_HOUR, STEPS_PER_WEEK, Window

PPM = 1_000_000
PLATEAU_STEPS = 6 * STEPS_PER_HOUR
_STALLED = (0.12, 0.85)
_CHECKPOINT = (0.04, 0.6)
_WARMING_UP = (0.05, 0.8)

Ratio = Annotated[float, Field(ge=0, le=1)]
Hour = Annotated[float, Field(ge=0, le=24)]
Moment = tuple[int, int]
"""Step of the week, step of the run."""
Level = tuple[float, float]
"""Activity, share of time that the host waits for data."""


class Constant(Strict):
    """One level, with noise around it."""

    kind: Literal["constant"]
    activity: Ratio
    noise: Ratio = 0.02


class Training(Strict):
    """Long plateaus; dips for checkpoints at fixed times, stalls of the data loader at random ones."""

    kind: Literal["training"]
    activity: Ratio = 0.97
    noise: Ratio = 0.02
    checkpoint_every_minutes: float = Field(default=60.0, ge=1, le=10_080)
    checkpoint_seconds: float = Field(default=60.0, ge=0, le=3600)
    stalls_per_hour: float = Field(default=0.0, ge=0, le=60)
    stall_seconds: float = Field(default=60.0, ge=10, le=3600)


class Inference(Strict):
    """Day and night as a wave around the peak hour, weaker at the weekend."""

    kind: Literal["inference"]
    low: Ratio = 0.05
    peak: Ratio = 0.7
    peak_hour: Hour = 15.0
    weekend: Ratio = 0.6
    noise: Ratio = 0.08


class Notebook(Strict):
    """Nothing most of the time; bursts in office hours (9 to 18 o'clock from Monday to Friday)."""

    kind: Literal["notebook"]
    activity: Ratio = 0.6
    bursts_per_hour: float = Field(default=2.0, ge=0, le=60)
    burst_minutes: float = Field(default=4.0, ge=1 / 6, le=120)
    noise: Ratio = 0.2


class Batch(Strict):
    """A job that first reads its input, then computes at one level to the end of its window."""

    kind: Literal["batch"]
    activity: Ratio = 0.9
    warmup_minutes: float = Field(default=5.0, ge=0, le=1440)
    noise: Ratio = 0.04


Shape = Annotated[Constant | Training | Inference | Notebook | Batch, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True)
class Course:
    """A workload's week, in parts per million for each step."""

    activity: Sequence[int]
    waiting: Sequence[int]


def course(shape: Shape, windows: Sequence[Window], seed: str) -> Course:
    """The week of a workload with this shape that runs in these windows; zero outside them."""
    activity, waiting = (array("i", bytes(4 * STEPS_PER_WEEK)) for _ in range(2))
    rng = random.Random(seed)  # noqa: S311  (a reproducible course, no secret)
    curve = _CURVES[type(shape)](shape, _moments(windows), rng)
    for (step, _), (busy, waits) in zip(_moments(windows), curve, strict=True):
        activity[step] = round(min(1.0, max(0.0, busy)) * PPM)
        waiting[step] = round(waits * PPM)
    return Course(activity, waiting)


def _moments(windows: Sequence[Window]) -> Iterator[Moment]:
    for window in windows:
        yield from ((step, run) for run, step in enumerate(step for part in window.steps() for step in part))


def _constant(shape: Constant, moments: Iterable[Moment], rng: random.Random) -> Iterator[Level]:
    for _ in moments:
        yield shape.activity + shape.noise * _swing(rng), 0.0


def _training(shape: Training, moments: Iterable[Moment], rng: random.Random) -> Iterator[Level]:
    every = max(1, round(shape.checkpoint_every_minutes * 60 / STEP_SECONDS))
    checkpoint = round(shape.checkpoint_seconds / STEP_SECONDS)
    stall = round(shape.stall_seconds / STEP_SECONDS)
    chance = shape.stalls_per_hour / STEPS_PER_HOUR
    plateau, stalled = shape.activity, 0
    for _, run in moments:
        if run % PLATEAU_STEPS == 0:
            plateau = shape.activity * (1 - 0.04 * rng.random())
        stalled = stall if not stalled and rng.random() < chance else max(0, stalled - 1)
        if run >= every and run % every < checkpoint:
            yield _CHECKPOINT
        else:
            yield _STALLED if stalled else (plateau + shape.noise * _swing(rng), 0.0)


def _inference(shape: Inference, moments: Iterable[Moment], rng: random.Random) -> Iterator[Level]:
    for step, _ in moments:
        hour = step % STEPS_PER_DAY / STEPS_PER_HOUR
        wave = (1 + math.cos((hour - shape.peak_hour) * math.pi / 12)) / 2
        weight = shape.weekend if step >= 5 * STEPS_PER_DAY else 1.0
        level = shape.low + (shape.peak - shape.low) * wave * weight
        yield level * (1 + shape.noise * _swing(rng)), 0.0


def _notebook(shape: Notebook, moments: Iterable[Moment], rng: random.Random) -> Iterator[Level]:
    burst = max(1, round(shape.burst_minutes * 60 / STEP_SECONDS))
    chance = shape.bursts_per_hour / STEPS_PER_HOUR
    left = 0
    for step, _ in moments:
        office = step < 5 * STEPS_PER_DAY and 9 <= step % STEPS_PER_DAY // STEPS_PER_HOUR < 18  # noqa: PLR2004
        left = burst if office and not left and rng.random() < chance else max(0, left - 1)
        yield (shape.activity * (1 + shape.noise * _swing(rng)) if left else 0.0), 0.0


def _batch(shape: Batch, moments: Iterable[Moment], rng: random.Random) -> Iterator[Level]:
    warmup = round(shape.warmup_minutes * 60 / STEP_SECONDS)
    for _, run in moments:
        yield _WARMING_UP if run < warmup else (shape.activity + shape.noise * _swing(rng), 0.0)


def _swing(rng: random.Random) -> float:
    return 2 * rng.random() - 1


_CURVES: Mapping[type[Any], Callable[[Any, Iterable[Moment], random.Random], Iterator[Level]]] = {
    Constant: _constant,
    Training: _training,
    Inference: _inference,
    Notebook: _notebook,
    Batch: _batch,
}
