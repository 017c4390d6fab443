"""How far each agent's journal is booked, kept in the ledger itself, so that any controller of it can go on."""

from collections.abc import Mapping
from datetime import datetime
from typing import cast

from controller.gather import Mark
from ledger.store import Store
from ledger.store_progress import note_progress, progress

_WHAT = "journals"


class LedgerMarks:
    """Marks in the table ``progress``."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self) -> Mapping[str, Mark]:
        """By node; one that cannot be understood is left out, and its journal is read whole again."""
        said = cast("Mapping[str, object]", progress(self._store, _WHAT))
        return {node: mark for node, mark in ((node, _mark(value)) for node, value in said.items()) if mark}

    def write(self, marks: Mapping[str, Mark], at: datetime) -> None:
        """All of them."""
        note_progress(self._store, _WHAT, {node: list(mark) for node, mark in marks.items()}, at)


def _mark(value: object) -> Mark | None:
    parts = cast("list[object]", value) if isinstance(value, list) else []
    match parts:
        case [int(change), int() | None as booted, int(day), str(url)]:
            return Mark(change, booted, day, url)
        case _:
            return None
