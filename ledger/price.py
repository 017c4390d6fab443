"""A price of GPU time and its exact arithmetic: nano-dollars an hour, and cost as an integer product with time.

Owns the shape of a price. Must never hold a float, nor mix list price with effective cost: every price here is list.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from collectors.clock import NS_PER_HOUR, NS_PER_SECOND
from ledger.apportion import apportion

CapacityType = Literal["on_demand", "spot", "reserved", "capacity_block", "on_prem"]

NANO_PER_USD = 1_000_000_000
HOURS_PER_YEAR = 365 * 24


@dataclass(frozen=True, slots=True)
class Price:
    """What one GPU of a node costs an hour, by list, and how that is known."""

    price_id: str
    """Names source, offer, capacity type, date and figure: two prices with one id are the same price."""
    nano_usd_per_gpu_hour: int
    """Always above 0. GPUs of one node may differ by 1, so that they add up to the node's price."""
    source: str
    """``config``, ``on_prem``, ``bundled:SOURCE`` or ``bundled:median-of-N``."""
    as_of: date
    """The date for which the source vouches."""
    capacity_type: CapacityType
    """What is priced, which may not be what the node is: see ``note``."""
    estimate: bool = False
    """The figure is not this node's own price; ``note`` says in what it may differ."""
    note: str = ""
    basis: Literal["list"] = "list"

    @property
    def usd_per_gpu_hour(self) -> float:
        """For gauges and people; the books use the integer."""
        return self.nano_usd_per_gpu_hour / NANO_PER_USD

    def age_seconds(self, now_ns: int) -> int:
        """Seconds of wall clock since the day of ``as_of`` began (UTC), at least 0."""
        began = int(datetime(self.as_of.year, self.as_of.month, self.as_of.day, tzinfo=UTC).timestamp())
        return max(0, now_ns // NS_PER_SECOND - began)


def nano_usd(usd: Decimal | Fraction) -> int:
    """Dollars in nano-dollars, rounded once, half to even."""
    return round(Fraction(usd) * NANO_PER_USD)


def gpu_shares(nano_usd_per_hour: int, gpu_count: int) -> list[int]:
    """A node's price over its GPUs, as equally as integers allow; the shares add up to it exactly.

    Raises:
        ValueError: a node without GPUs, or a price too small to give each a nano-dollar.
    """
    if gpu_count < 1 or nano_usd_per_hour < gpu_count:
        raise ValueError(f"cannot split {nano_usd_per_hour} nano-dollars over {gpu_count} GPUs")
    return apportion(nano_usd_per_hour, [1] * gpu_count)


def cost_numerator(gpu_ns: int, nano_usd_per_gpu_hour: int) -> int:
    """What ``gpu_ns`` nanoseconds of a GPU cost, in nano-dollars times :data:`NS_PER_HOUR`; exact.

    Numerators of different prices may be added. A meter keeps the numerator, which only grows, and shows
    :func:`numerator_usd` of it; the books divide once, by :func:`to_nano_usd`.
    """
    return gpu_ns * nano_usd_per_gpu_hour


def numerator_usd(numerator: int) -> float:
    """A numerator in dollars, for exposition. Never falls while the numerator grows: int division rounds correctly."""
    return numerator / (NS_PER_HOUR * NANO_PER_USD)


def to_nano_usd(numerators: Sequence[int]) -> list[int]:
    """Numerators in whole nano-dollars that add up to their sum, itself rounded half to even.

    Args:
        numerators: what :func:`cost_numerator` gave for the parts of one whole, none negative.

    Raises:
        ValueError: there are none, or one is negative.
    """
    whole = round(Fraction(sum(numerators), NS_PER_HOUR))
    return apportion(whole, numerators)
