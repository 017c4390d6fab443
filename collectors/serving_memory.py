"""Reads the pages of one target, one after the other, and remembers their form: only values change most of the time.

Flow: a page is cut at the last blank of each line. Where all that stands before the values is what it was on the page
before, byte by byte, the mapped values are taken from where they stood. Any other page is read in full, and so is one
with a value that is no plain number; what that reader refuses is refused.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from collectors.errors import Unavailable
from collectors.openmetrics import Sample
from collectors.serving_layout import PageLayout, layout_of
from collectors.serving_page import take_apart
from collectors.serving_values import EnginePage, PageReading, TenantCap

_VALUE = re.compile(rb" ([^ \n]*)\n")
_BETWEEN = b" \n"
"""Stands within no part of a page that was cut, so that parts put together with it are those parts and no others."""
_NUMERIC = b"0123456789.eE+- "
_FIRST_MARK = 1 << 40


@dataclass(frozen=True, slots=True)
class _Form:
    """A page without its values."""

    digest: bytes
    layout: PageLayout
    places: tuple[int, ...]
    """Where the mapped values stand among the parts of the page."""

    def fill(self, parts: Sequence[bytes]) -> EnginePage | None:
        """The page with the values among ``parts``; ``None`` where one is no plain number.

        Raises:
            PageRefused: a counter cannot have its value.
        """
        texts = [parts[place] for place in self.places]
        if b" ".join(texts).translate(None, _NUMERIC):
            return None
        try:
            values = [float(text) for text in texts]
        except ValueError:
            return None
        return self.layout.fill(values, texts) if math.isfinite(sum(values)) else None


class PageMemory:
    """The form of one target's page; used by one thread at a time.

    A form is learnt from the second page that has it, so that pages which differ each time cost no more than reading.

    Args:
        reading: how the target's pages are to be read.
        tenants: names the tenants.
    """

    def __init__(self, reading: PageReading, tenants: TenantCap) -> None:
        self._reading = reading
        self._tenants = tenants
        self._last = b""
        """Digest of the last page that was read in full."""
        self._form: _Form | None = None
        self._unfit = False
        """The form of the last page cannot be learnt."""

    def read(self, page: bytes, *, whole: bool = True) -> EnginePage:
        """What :func:`collectors.serving_page.read_engine_page` makes of the page.

        Raises:
            PageRefused, EngineUnknown: as that function.
        """
        parts = _VALUE.split(page)
        digest = sha256(_BETWEEN.join(parts[::2])).digest()
        if self._form is not None and self._form.digest == digest:
            known = self._form.fill(parts)
            if known is not None:
                return known
        taken = take_apart(page, self._reading, whole=whole)
        samples = taken.mapped.samples
        layout = layout_of(taken.engines, samples, self._reading, self._tenants)
        if digest != self._last:
            self._last, self._form, self._unfit = digest, None, False
        elif self._form is None and not self._unfit and not taken.mapped.nan_samples:
            places = self._places(parts, samples)
            self._form = None if places is None else _Form(digest, layout, places)
            self._unfit = self._form is None
        found = None if self._form is None else self._form.fill(parts)
        return layout.fill([sample.value for sample in samples]) if found is None else found

    def _places(self, parts: Sequence[bytes], samples: Sequence[Sample]) -> tuple[int, ...] | None:
        """Where the samples' values stand, by reading the page once more with marks for values.

        ``None`` where that cannot be told for certain: exemplars, timestamps, names in quotes, a last line without an
        end, no sample at all.
        """
        heads = parts[:-1:2]
        if parts[-1] or not samples or not all(map(_names_its_line, heads)):
            return None
        marked = b"".join([b"%b %d\n" % (head, _FIRST_MARK + place) for place, head in enumerate(heads)])
        try:
            found = take_apart(marked, self._reading, whole=True).mapped.samples
        except Unavailable:
            return None
        if len(found) != len(samples) or not all(map(_same_series, found, samples)):
            return None
        lines = [int(mark.value) - _FIRST_MARK for mark in found]
        if not all(0 <= line < len(heads) and b"#" not in heads[line] for line in lines):
            return None
        return tuple(2 * line + 1 for line in lines)


def _names_its_line(head: bytes) -> bool:
    """Whether what a line is named stands before its last blank; it then has that name with any other last word."""
    line = head.rpartition(b"\n")[2].lstrip(b" \t")
    return bool(line) and not line.startswith(b"{")


def _same_series(mark: Sample, sample: Sample) -> bool:
    """Whether a line and the same line with a mark for its last word are of one series, and that word is its value."""
    timed = mark.timestamp_seconds is not None or sample.timestamp_seconds is not None
    return mark[:2] == sample[:2] and not timed and math.isfinite(mark.value)
