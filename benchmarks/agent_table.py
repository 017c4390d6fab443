"""The table that a benchmark prints: what was measured, the figure, the target, and whether it was kept."""

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

PEERS = ("nvitop-exporter", "prometheus-client", "nvidia-ml-py", "psutil", "pydantic")


@dataclass(slots=True)
class Table:
    """Rows in the order in which they were measured; printed as they come."""

    missed: list[str] = field(default_factory=list[str])

    def section(self, title: str) -> None:
        """What the rows that follow have in common."""
        print(f"\n### {title}\n\n| | figure | target | |\n|---|---:|---:|---|", flush=True)

    def row(
        self, what: str, figure: float, unit: str, *, most: float | None = None, least: float | None = None
    ) -> None:
        """One figure; with a target it is held against it.

        Args:
            what: what was measured.
            figure: how much.
            unit: of figure and target.
            most: the figure may be no larger.
            least: the figure may be no smaller.
        """
        kept = (most is None or figure <= most) and (least is None or figure >= least)
        if not kept:
            self.missed.append(what)
        target = f"at most {most:g} {unit}" if most is not None else f"at least {least:g} {unit}" if least else ""
        verdict = ("kept" if kept else "**missed**") if target else ""
        print(f"| {what} | {figure:.2f} {unit} | {target} | {verdict} |", flush=True)


def machine() -> str:
    """What the figures were measured on."""
    system = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    peers = ", ".join(f"{name} {version(name)}" for name in PEERS)
    return (
        f"{os.cpu_count()} CPUs, {_processor()}, {system}, Linux {platform.release()}, "
        f"Python {platform.python_version()}\nwattledger {version('wattledger')}, {peers}"
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def median(figures: Iterable[float]) -> float:
    """The middle one; of an even number the mean of the two in the middle."""
    ordered = sorted(figures)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
