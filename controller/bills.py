"""The job that takes bills in, and books what they alone know: instances that existed and never told of themselves."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from collectors.price_list import PriceRow
from controller.bookkeeper import Bookkeeper
from ledger.bill_intake import BillIntake, Source, Taken
from ledger.bill_witness import gpu_types, note_bill_lifetimes
from ledger.store import Store
from ledger.tables import INSTANCE_TYPES

_log = logging.getLogger(__name__)


class BillsAway(Exception):  # noqa: N818  (named for what it is)
    """A source of bills could not be read; all others were, and it is tried again."""


@dataclass(slots=True)
class Bills:
    """Takes what the sources deliver."""

    store: Store
    intake: BillIntake
    sources: Sequence[Source]
    listed: Iterable[PriceRow]
    """The bundled list, for which types have GPUs."""
    books: Bookkeeper
    now: Callable[[], datetime]
    waiting: tuple[str, ...] | None = None
    """Deliveries that were not all there when the sources were looked at last; ``None``: they were not."""
    _told: frozenset[str] = field(default_factory=frozenset[str])

    def run(self) -> None:
        """Look at the sources once, book what is new, and make cost of what it touches.

        Raises:
            BillsAway: a source could not be read.
            StoreError: the ledger cannot be written; the next run does what is left.
        """
        taken = self.intake.take(self.sources)
        for line in sorted({*taken.waiting} - {*(self.waiting or ())}):
            _log.info("a bill is not all there: %s", line)
        self.waiting = tuple(taken.waiting)
        self.settle()
        self.tell(taken)
        if taken.unavailable:
            raise BillsAway("; ".join(taken.unavailable))

    def settle(self) -> None:
        """Node-hours and cost in step with the charges that stand.

        Raises:
            StoreError: a table cannot be read or written.
        """
        now = self.now()
        types = gpu_types(self.listed, self.store.scan(INSTANCE_TYPES).collect())
        note_bill_lifetimes(self.store, types, now)
        self.books.settle(now)

    def tell(self, taken: Taken) -> None:
        """Log what was booked, and what is refused for the first time."""
        for bill in taken.booked:
            _log.info("bill %s is booked", bill)
        said = frozenset(taken.refused)
        for line in sorted(said - self._told):
            _log.warning("a bill is refused: %s", line)
        self._told |= said
