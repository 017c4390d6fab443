"""Manifests: what says that a delivery is whole, and which objects belong to it.

=================== ============================================================ ==================
legacy CUR          ``ROOT/20261101-20261201/[ASSEMBLY/]NAME-Manifest.json``      ``reportKeys``
AWS data exports    ``ROOT/metadata/BILLING_PERIOD=2026-11/.../NAME-Manifest.json`` ``dataFiles``
Azure exports       ``ROOT/20261101-20261130/[RUN/]manifest.json``                ``blobs[].blobName``
=================== ============================================================ ==================

``dataFiles`` is not on AWS's pages: a manifest without it stands for all data files of its period.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, cast

from collectors.bill_shelf import Stored
from collectors.errors import Unavailable

_NAME = re.compile(r"(?:^|/)(?:[^/]*-Manifest|manifest)\.json$")
_PERIOD = re.compile(r"^(?P<root>.*?)(?:/metadata)?/(?:BILLING_PERIOD=(\d{4})-(\d{2})|(\d{4})(\d{2})\d{2}-\d{8})/")


@dataclass(frozen=True, slots=True)
class Manifest:
    """One delivery's list of objects."""

    stored: Stored
    root: str
    """Of the export; everything below it is the export's."""
    month: date
    keys: tuple[str, ...] | None
    """Names of objects, perhaps with more before them than the shelf has; None: it does not say."""

    @property
    def rank(self) -> tuple[int, float]:
        """The greatest counts: the one nearest to the root, which AWS keeps up to date, and of those the latest."""
        return -self.stored.name.count("/"), self.stored.modified.timestamp()

    @property
    def data_folder(self) -> str:
        """Where a data export has this month's files."""
        return f"{self.root}/data/BILLING_PERIOD={self.month:%Y-%m}/"


def is_manifest(name: str) -> bool:
    """Whether an object of this name is a manifest that is known."""
    return bool(_NAME.search(name) and _PERIOD.match(f"/{name}"))


def export_period(name: str) -> tuple[str, date] | None:
    """The export's root and the month that a path names, where it names one."""
    match = _PERIOD.match(f"/{name}")
    if match is None:
        return None
    year, month = (match[2], match[3]) if match[2] else (match[4], match[5])
    return match["root"].removeprefix("/").removesuffix("/data"), date(int(year), int(month), 1)


def parse(stored: Stored, text: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        Unavailable: it is not whole yet, or of a form that is not known.
    """
    try:
        said = json.loads(text)
        period = export_period(stored.name)
    except ValueError as error:
        raise Unavailable(f"{stored.name}: cannot be read ({error}); it is read again") from error
    if not isinstance(said, dict) or period is None:
        raise Unavailable(f"{stored.name}: is no manifest of a bill; keep it out of the place of bills")
    try:
        return Manifest(stored, *period, _keys(cast("Mapping[str, Any]", said)))
    except (KeyError, TypeError) as error:
        raise Unavailable(f"{stored.name}: names its objects in a form that is not known ({error!r})") from error


def _keys(said: Mapping[str, Any]) -> tuple[str, ...] | None:
    for column, member in (("blobs", "blobName"), ("dataFiles", None), ("reportKeys", None)):
        listed = said.get(column)
        if isinstance(listed, list):
            entries = list(cast("Iterable[Any]", listed))
            names = [str(entry[member]) if member else str(entry) for entry in entries]
            return tuple(re.sub(r"^s3://[^/]+/", "", name) for name in names)
    return None
