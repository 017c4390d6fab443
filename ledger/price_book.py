"""The price book: what each GPU of this node costs an hour, by list, from the first source that knows.

Owns the order of sources: the configuration (node, instance, model, on-prem), then the bundled list for the
instance, then, called an estimate, the list's median. A live cloud price would stand after the configuration.
"""

from collections.abc import Sequence

from collectors.cloud_metadata import CloudIdentity
from collectors.price_list import PriceRow
from collectors.readings import DeviceFacts
from ledger.price import Price
from ledger.price_settings import PriceSettings
from ledger.price_sources import BundledInstancePrices, ConfiguredPrices, MarketMedian, PriceSource

_SECONDS_PER_DAY = 24 * 3600


class PriceBook:
    """The sources in their order; the first that has an offer prices the GPU."""

    def __init__(
        self,
        settings: PriceSettings,
        rows: Sequence[PriceRow],
        identity: CloudIdentity | None,
        gpu_count: int,
    ) -> None:
        """A book for one node.

        Args:
            settings: the configured prices.
            rows: the bundled list, at least the rows of this provider and of the node's GPU models.
            identity: the node in its cloud, ``None`` on a bare host or where it is not known.
            gpu_count: physical GPUs of the node, counted at the start. A GPU lost later keeps its share of the price.

        Raises:
            Misconfigured: the node's configured price is for fewer GPUs than it has.
        """
        sources: list[PriceSource] = [
            ConfiguredPrices(settings, identity, gpu_count),
            BundledInstancePrices(rows, identity, gpu_count),
        ]
        if settings.fallback == "market_median":
            sources.append(MarketMedian(rows))
        self._sources = tuple(sources)
        self._stale_after_seconds = settings.stale_after_days * _SECONDS_PER_DAY

    def price_for(self, device: DeviceFacts, gpu_index: int) -> Price | None:
        """The list price of one GPU; ``None`` where nobody knows one. Cheap, yet made to be kept, not asked each sweep.

        Args:
            device: the device; MIG instances bear their share of their parent's price.
            gpu_index: its place among the node's GPUs, from 0, the same for as long as the node exists.
        """
        for source in self._sources:
            if offer := source.offer(device):
                return offer.share(gpu_index)
        return None

    def is_stale(self, price: Price, now_ns: int) -> bool:
        """Whether the price is older than the settings allow to go unsaid. It is used all the same."""
        return price.age_seconds(now_ns) > self._stale_after_seconds
