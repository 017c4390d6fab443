"""A scenario: which GPUs a simulation has, who works on them, how, when, and what fails.

Owns the file format (docs/guides/simulation.md) and its checks. Ratios run from 0 to 1.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self, cast

from pydantic import AfterValidator, Field, field_validator, model_validator

from collectors import simulated_models as models
from collectors.holder import HolderKind
from collectors.simulated_shapes import Shape
from collectors.simulated_strict import Strict, load, refusal
from collectors.simulated_week import (
    INSTANT_FORM,
    STEP_NS,
    STEP_SECONDS,
    WINDOW_FORM,
    Window,
    overlap,
    parse_instants,
    parse_windows,
)

BUNDLED = Path(__file__).with_name("scenarios")
MAX_DEVICES = 64
MAX_WORKLOADS = 256
MAX_PROCESSES = 64

PLACE = re.compile(r"(0|[1-9]\d{0,3})(/[0-9])?", re.ASCII)

Ratio = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\s\x00-\x1f]+$")]


def _instant(text: str) -> str:
    try:
        parse_instants(text)
    except ValueError as error:
        raise refusal(repr(text), INSTANT_FORM) from error
    return text


def _span(text: str) -> str:
    try:
        parse_windows(text)
    except ValueError as error:
        raise refusal(repr(text), WINDOW_FORM) from error
    return text


Instant = Annotated[str, AfterValidator(_instant)]
Span = Annotated[str, AfterValidator(_span)]


class Device(Strict):
    """One GPU: a model of the list, its figures changed where given, or ``custom`` with all of them."""

    model: str
    name: str | None = Field(default=None, min_length=1, max_length=60)
    idle_watts: Positive | None = None
    max_watts: Positive | None = None
    memory_gib: int | None = Field(default=None, ge=1, le=4096)
    gpm: bool | None = None
    mig: list[str] = Field(default_factory=list[str], max_length=models.MIG_COMPUTE_SLICES)

    @field_validator("model")
    @classmethod
    def _known(cls, value: str) -> str:
        if value != models.CUSTOM and value not in models.MODELS:
            raise refusal(repr(value), ", ".join([*models.MODELS, models.CUSTOM]))
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        figures = ("name", "idle_watts", "max_watts", "memory_gib", "gpm")
        if self.model == models.CUSTOM and (missing := [key for key in figures if getattr(self, key) is None]):
            raise refusal(f"a custom model without {missing[0]}", "one with all of " + ", ".join(figures))
        if self.gpu.idle_watts >= self.gpu.max_watts:
            raise refusal(f"idle_watts {self.gpu.idle_watts:g}", f"less than max_watts ({self.gpu.max_watts:g})")
        self._check_mig()
        return self

    def _check_mig(self) -> None:
        profiles = self.gpu.mig
        for profile in self.mig:
            if profile not in profiles:
                raise refusal(f"MIG profile {profile!r}", ", ".join(profiles) or f"none: {self.model} has no MIG")
        compute, memory = (sum(profiles[profile][part] for profile in self.mig) for part in (0, 1))
        if compute > models.MIG_COMPUTE_SLICES or memory > models.MIG_MEMORY_SLICES:
            raise refusal(
                f"MIG profiles of {compute} compute and {memory} memory slices",
                f"at most {models.MIG_COMPUTE_SLICES} and {models.MIG_MEMORY_SLICES} on one device",
            )

    @cached_property
    def gpu(self) -> models.GpuModel:
        """The model's figures with this device's own put over them."""
        base = models.MODELS.get(self.model, models.BLANK)
        return models.GpuModel(
            name=self.name or base.name,
            idle_watts=self.idle_watts or base.idle_watts,
            max_watts=self.max_watts or base.max_watts,
            memory_gib=self.memory_gib or base.memory_gib,
            architecture=base.architecture,
            gpm=base.gpm if self.gpm is None else self.gpm,
            sm_mhz=base.sm_mhz,
            memory_mhz=base.memory_mhz,
            nvlink_gb_per_second=base.nvlink_gb_per_second,
            mig=base.mig,
        )


class Who(Strict):
    """Who holds the processes, as on a bare host. ``{run}`` in the name is the number of the run."""

    kind: Literal["container", "systemd", "slurm", "user", "system", "none"]
    name: str = Field(default="", max_length=200, pattern=r"^[^\s\x00-\x1f]*$")

    @model_validator(mode="after")
    def _named(self) -> Self:
        if (self.kind == "none") != (not self.name):
            found = f"kind {self.kind} with name {self.name!r}"
            raise refusal(found, "a name, without blanks, for every kind but none, which has no name")
        return self

    @property
    def holder_kind(self) -> HolderKind:
        """The kind as holders have it."""
        return self.kind


@dataclass(frozen=True, slots=True)
class Place:
    """A device by its index in the scenario, or one of its MIG instances."""

    gpu: int
    instance: int | None = None

    def __str__(self) -> str:
        """As a scenario spells it."""
        return f"{self.gpu}" if self.instance is None else f"{self.gpu}/{self.instance}"


class HostUse(Strict):
    """What a workload takes of the host at full activity, for all its processes together."""

    cpu_cores: float = Field(default=1.0, ge=0, le=4096)
    memory_gib: float = Field(default=4.0, ge=0, le=1e6)
    read_mb_per_second: float = Field(default=0.0, ge=0, le=1e6)
    network_mb_per_second: float = Field(default=0.0, ge=0, le=1e6)


class Workload(Strict):
    """One piece of work: who, on which devices, when, and how busy."""

    name: Name
    holder: Who
    devices: list[str] = Field(min_length=1, max_length=MAX_DEVICES)
    shape: Shape
    when: list[Span] = Field(default_factory=lambda: ["always"], min_length=1, max_length=50)
    share: float = Field(default=1.0, gt=0, le=1)
    sm: Ratio = 0.7
    tensor: Ratio = 0.3
    dram: Ratio = 0.4
    power: Ratio = 0.8
    nvlink: Ratio = 0.0
    pcie_gb_per_second: float = Field(default=0.5, ge=0, le=128)
    memory_gib: float = Field(gt=0, le=4096)
    processes: int = Field(default=1, ge=1, le=MAX_PROCESSES)
    host: HostUse = HostUse()

    @field_validator("when", mode="before")
    @classmethod
    def _spans(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("devices", mode="before")
    @classmethod
    def _spelled(cls, value: object) -> object:
        if not isinstance(value, list):
            return value
        return [str(item) if type(item) is int else item for item in cast("list[object]", value)]

    @field_validator("devices")
    @classmethod
    def _distinct(cls, value: list[str]) -> list[str]:
        for item in value:
            if not PLACE.fullmatch(item):
                raise refusal(repr(item), "the index of a device such as 0, or of a MIG instance such as '1/3'")
        if len(set(value)) < len(value):
            raise refusal("a device twice", "each device once")
        return value

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if overlap(self.windows):
            raise refusal(f"when {self.when!r} with spans that overlap", "spans that do not")
        return self

    @cached_property
    def places(self) -> Sequence[Place]:
        """The devices, parsed."""
        split = [item.partition("/") for item in self.devices]
        return [Place(gpu=int(gpu), instance=int(part) if part else None) for gpu, _, part in split]

    @cached_property
    def windows(self) -> Sequence[Window]:
        """When it runs."""
        return [window for span in self.when for window in parse_windows(span)]


class Failure(Strict):
    """Something that goes wrong, every week at the same time."""

    kind: Literal["lost", "hang", "activity_unreadable", "processes_unreadable", "driver_reload", "xid"]
    at: Instant
    device: int | None = Field(default=None, ge=0)
    minutes: float | None = Field(default=None, ge=1 / 6, le=7 * 24 * 60 - 1)
    xid: int | None = Field(default=None, ge=1, le=1000)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needed = {"driver_reload": {"minutes"}, "xid": {"device", "xid"}}.get(self.kind, {"device", "minutes"})
        for key in ("device", "minutes", "xid"):
            if (getattr(self, key) is None) == (key in needed):
                found = f"{self.kind} {'without' if key in needed else 'with'} {key}"
                raise refusal(found, f"kind, at, {', '.join(sorted(needed))}")
        return self

    @cached_property
    def windows(self) -> Sequence[Window]:
        """When it is so, in whole steps of the week's tables; without length for an XID."""
        length_ns = round((self.minutes or 0) * 60 / STEP_SECONDS) * STEP_NS
        return [Window(start_ns, length_ns) for start_ns in parse_instants(self.at)]


class HostMachine(Strict):
    """The simulated node around the devices."""

    cpus: int = Field(default=96, ge=1, le=4096)
    memory_gib: int = Field(default=1024, ge=1, le=65536)


class Scenario(Strict):
    """The whole file."""

    description: str = ""
    seed: int = Field(default=1, ge=0, le=2**63 - 1)
    utc_offset_hours: float = Field(default=0.0, ge=-12, le=14)
    host: HostMachine = HostMachine()
    devices: list[Device] = Field(min_length=1, max_length=MAX_DEVICES)
    workloads: list[Workload] = Field(default_factory=list[Workload], max_length=MAX_WORKLOADS)
    failures: list[Failure] = Field(default_factory=list[Failure], max_length=1000)

    @field_validator("utc_offset_hours")
    @classmethod
    def _quarters(cls, value: float) -> float:
        if value * 4 % 1:
            raise refusal(repr(value), "hours in steps of 0.25")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = [workload.name for workload in self.workloads]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise refusal(f"workload {doubled[0]!r} twice", "each name once")
        for workload in self.workloads:
            for place in workload.places:
                self._check_place(workload, place)
        for failure in self.failures:
            if failure.device is not None and failure.device >= len(self.devices):
                raise refusal(f"a failure of device {failure.device}", f"devices 0 to {len(self.devices) - 1}")
        for place, sharers in self._by_place():
            self._check_sharing(place, sharers)
        return self

    def _check_place(self, workload: Workload, place: Place) -> None:
        found = f"workload {workload.name!r} on device {place}"
        if place.gpu >= len(self.devices):
            raise refusal(found, f"devices 0 to {len(self.devices) - 1}")
        instances = len(self.devices[place.gpu].mig)
        if (place.instance is None) == bool(instances):
            instance = f"one of its MIG instances, {place.gpu}/0 to {place.gpu}/{instances - 1}"
            raise refusal(found, instance if instances else f"the whole device, {place.gpu}: it has no mig")
        if place.instance is not None and place.instance >= instances:
            raise refusal(found, f"{place.gpu}/0 to {place.gpu}/{instances - 1}")

    def _by_place(self) -> Iterator[tuple[Place, list[Workload]]]:
        places = {str(place): place for workload in self.workloads for place in workload.places}
        for place in places.values():
            yield place, [workload for workload in self.workloads if place in workload.places]

    def _check_sharing(self, place: Place, sharers: list[Workload]) -> None:
        memory_gib = self.memory_gib(place)
        for start_ns in sorted({window.start_ns for workload in sharers for window in workload.windows}):
            here = [work for work in sharers if any(window.covers(start_ns) for window in work.windows)]
            names = ", ".join(work.name for work in here)
            if (shares := sum(work.share for work in here)) > 1 + 1e-9:
                raise refusal(f"shares of {names} on device {place} that add up to {shares:g}", "at most 1 at any time")
            if (used := sum(work.memory_gib for work in here)) > memory_gib:
                raise refusal(f"{used:g} GiB of {names} on device {place}", f"at most {memory_gib:g} GiB at any time")

    def memory_gib(self, place: Place) -> float:
        """What a device or MIG instance can hold."""
        gpu = self.devices[place.gpu].gpu
        if place.instance is None:
            return gpu.memory_gib
        profile = self.devices[place.gpu].mig[place.instance]
        return gpu.memory_gib * gpu.mig[profile][1] / models.MIG_MEMORY_SLICES


def load_scenario(path: Path | None = None, *, name: str = "default", seed: int | None = None) -> Scenario:
    """Read a scenario file, or the bundled one of this name; ``seed`` takes the place of the file's own.

    Raises:
        Misconfigured: the file cannot be read or holds a wrong key or value: one line with file, key, what was
            found and what is allowed.
    """
    scenario = load(Scenario, path or BUNDLED / f"{name}.yaml")
    return scenario if seed is None else scenario.model_copy(update={"seed": seed})
