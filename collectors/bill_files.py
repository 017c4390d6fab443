"""From objects on a shelf to deliveries: which files are one bill of one month, and whether all of it is there.

A file that no manifest speaks of is a delivery of its own. A later manifest of the same export and month takes the
place of the former; a delivery is taken only once all objects that its manifest names are there.
"""

import hashlib
import json
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from collectors.bill_manifest import Manifest, export_period, is_manifest, parse
from collectors.bill_shelf import Shelf, Stored
from collectors.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Delivery:
    """Objects that are one bill."""

    export: str
    """What delivers it again: the source's name and the export's root, or the file's own path."""
    month: date | None
    """None: a file by itself, which may hold several months."""
    objects: tuple[Stored, ...]

    @property
    def content(self) -> str:
        """Names, sizes and marks as JSON; the same again is the same delivery."""
        return json.dumps({each.name: [each.size, each.mark] for each in self.objects}, sort_keys=True)

    @property
    def digest(self) -> str:
        """Of the content."""
        return hashlib.sha256(self.content.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A delivery that is not all there."""

    why: str
    period: tuple[str, date] | None = None
    """Its export and month; ``None``: its manifest cannot be read."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a source holds."""

    deliveries: tuple[Delivery, ...]
    waiting: tuple[Waiting, ...] = ()

    @property
    def periods(self) -> list[tuple[str, date | None]] | None:
        """Export and month of all that is there, whole or not; ``None``: of some it cannot be told."""
        begun = [each.period for each in self.waiting if each.period is not None]
        if len(begun) < len(self.waiting):
            return None
        return [*((each.export, each.month) for each in self.deliveries), *begun]


@dataclass(slots=True)
class Deliveries:
    """The deliveries of one source. Keeps the manifests that it has read."""

    source: str
    shelf: Shelf
    _manifests: dict[Stored, Manifest] = field(default_factory=dict[Stored, Manifest])

    def find(self) -> Found:
        """What is there now.

        Raises:
            Unavailable: the shelf cannot be read now.
        """
        listing = self.shelf.listing()
        waiting: list[Waiting] = []
        newest: dict[tuple[str, date], Manifest] = {}
        for stored in listing:
            if is_manifest(stored.name):
                self._consider(stored, newest, waiting)
        managed = [self._delivery(manifest, listing, waiting) for manifest in newest.values()]
        roots = {manifest.root for manifest in newest.values()}
        plain = self._plain(listing, roots, waiting)
        return Found(tuple([each for each in managed if each is not None] + plain), tuple(waiting))

    def _consider(self, stored: Stored, newest: dict[tuple[str, date], Manifest], waiting: list[Waiting]) -> None:
        try:
            manifest = self._read(stored)
        except Unavailable as error:
            waiting.append(Waiting(str(error)))
            return
        key = (manifest.root, manifest.month)
        if key not in newest or manifest.rank > newest[key].rank:
            newest[key] = manifest

    def _read(self, stored: Stored) -> Manifest:
        if stored not in self._manifests:
            with tempfile.TemporaryDirectory() as folder:
                text = self.shelf.fetch(stored, Path(folder)).read_bytes()
            self._manifests[stored] = parse(stored, text)
        return self._manifests[stored]

    def _delivery(self, manifest: Manifest, listing: Sequence[Stored], waiting: list[Waiting]) -> Delivery | None:
        export = f"{self.source}:{manifest.root}"
        if manifest.keys is None:
            objects = [stored for stored in listing if stored.name.startswith(manifest.data_folder)]
            missing = [] if objects else [f"{manifest.data_folder}*"]
        else:
            by_key = {key: _named(key, listing) for key in manifest.keys}
            objects = [stored for stored in by_key.values() if stored is not None]
            missing = [key for key, stored in by_key.items() if stored is None]
        if missing:
            why = (
                f"{export}, {manifest.month:%Y-%m}: {len(missing)} of the objects that {manifest.stored.name} names"
                f" are not there yet, such as {missing[0]}; it is looked at again"
            )
            waiting.append(Waiting(why, (export, manifest.month)))
            return None
        return Delivery(export, manifest.month, tuple(objects)) if objects else None

    def _plain(self, listing: Sequence[Stored], roots: set[str], waiting: list[Waiting]) -> list[Delivery]:
        plain: list[Delivery] = []
        unclaimed: dict[tuple[str, date], int] = defaultdict(int)
        for stored in listing:
            if stored.name.endswith(".json"):
                continue
            period = export_period(stored.name)
            if period is not None and (period[0] in roots or "/data/BILLING_PERIOD=" in f"/{stored.name}"):
                unclaimed[period] += period[0] not in roots
            elif not any(stored.name.startswith(f"{root}/") for root in roots if root):
                plain.append(Delivery(f"{self.source}:{stored.name}", None, (stored,)))
        for (root, month), count in unclaimed.items():
            if count:
                export = f"{self.source}:{root}"
                why = f"{export}, {month:%Y-%m}: {count} files without their manifest; it is looked at again"
                waiting.append(Waiting(why, (export, month)))
        return plain


def _named(key: str, listing: Sequence[Stored]) -> Stored | None:
    """The object of that key; on a copy of a part of the bucket, the one whose path is its end."""
    return next((each for each in listing if key == each.name or key.endswith(f"/{each.name}")), None)
