"""What each holder cost and drew since the counters began, over all its devices and accounts."""

from collections.abc import Collection
from dataclasses import dataclass

from agent.books import FINISHED, OTHER, Books

HolderName = tuple[str, str]
"""Kind and name."""


@dataclass(slots=True)
class HolderTotal:
    """One holder's sums; absent where a part of them is."""

    cost_numerator: int | None = 0
    """gpu-nanoseconds x nano-dollars per hour."""
    energy_mj: int | None = 0


def holder_totals(books: Books, wanted: Collection[HolderName] | None = None) -> dict[HolderName, HolderTotal]:
    """By holder; of those that are ``wanted`` alone where they are named.

    A device without a price or an energy counter makes the sum of those that it bears absent.
    """
    totals: dict[HolderName, HolderTotal] = {}
    for key, meter in books.meters.items():
        holder = key.holder_kind, key.holder
        if (wanted is not None and holder not in wanted) or key.holder in {"", FINISHED, OTHER}:
            continue
        total = totals.setdefault(holder, HolderTotal())
        device = books.devices.get(key.gpu_uuid)
        if total.cost_numerator is not None:
            total.cost_numerator = None if meter.cost_numerator is None else total.cost_numerator + meter.cost_numerator
        if total.energy_mj is not None:
            total.energy_mj = None if device is None or device.energy_mj is None else total.energy_mj + meter.energy_mj
    return totals
