"""A node's prices: each device's asked once and kept, until the node turns out to be another instance."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from collectors.cloud_metadata import CloudIdentity
from collectors.price_list import load
from collectors.readings import DeviceFacts
from ledger.hours import PriceNote
from ledger.price import Price
from ledger.price_book import PriceBook
from ledger.price_settings import PriceSettings


@dataclass(slots=True)
class NodePrices:
    """Prices of one node's devices."""

    settings: PriceSettings
    devices: Callable[[], Sequence[DeviceFacts]]
    """The devices known so far, in a stable order."""
    identity: CloudIdentity | None = None
    _book: PriceBook | None = None
    _prices: dict[str, Price | None] = field(default_factory=dict[str, Price | None])
    _notes: dict[str, PriceNote] = field(default_factory=dict[str, PriceNote])
    """By the price's id, which names everything that a note says."""

    def identify(self, identity: CloudIdentity | None) -> None:
        """What the node turned out to be; from now on devices are priced by that."""
        if identity is not None and identity != self.identity:
            self.identity, self._book, self._prices = identity, None, {}

    def of(self, device: DeviceFacts) -> Price | None:
        """The price in force for a device."""
        prices = self._prices
        if device.uuid not in prices:
            known = self.devices()
            if self._book is None:
                self._book = PriceBook(self.settings, load(), self.identity, max(1, len(known)))
            place = next((i for i, facts in enumerate(known) if facts.uuid == device.uuid), device.index)
            prices[device.uuid] = self._book.price_for(device, place)
        return prices[device.uuid]

    def noted(self, device: DeviceFacts) -> tuple[str, PriceNote] | None:
        """The same as the books want it."""
        price = self.of(device)
        if price is None:
            return None
        note = self._notes.get(price.price_id)
        if note is None:
            note = self._notes[price.price_id] = PriceNote(
                price.nano_usd_per_gpu_hour, price.source, price.as_of.isoformat(), price.capacity_type, price.estimate
            )
        return price.price_id, note
