"""The dialects of bills there are, and which of them a file is in: told by its columns, never by its name."""

from collections.abc import Sequence

from collectors.bill_cur2 import CUR_2
from collectors.bill_cur_legacy import CUR_LEGACY
from collectors.bill_dialect import Dialect
from collectors.bill_focus import FOCUS_1_0, FOCUS_1_2
from collectors.bill_refused import BillRefused

DIALECTS: tuple[Dialect, ...] = (CUR_LEGACY, CUR_2, FOCUS_1_2, FOCUS_1_0)
"""In the order in which they are tried."""


def dialect_of(names: Sequence[str], where: str) -> Dialect:
    """The dialect of a file with these columns, whatever their order; further columns do not matter.

    Args:
        names: the header.
        where: the file, for the message.

    Raises:
        BillRefused: no dialect fits; names the nearest and the columns that it misses.
    """
    for dialect in DIALECTS:
        if dialect.fits(names):
            return dialect
    nearest = min(reversed(DIALECTS), key=lambda dialect: len(dialect.missing(names)) / len(dialect.needs))
    missing = nearest.missing(names)
    if len(missing) == len(nearest.needs):
        raise BillRefused(
            f"{where}: no bill that is known: none of its {len(names)} columns ({_some(names)}) is one that"
            f" {', '.join(dialect.name for dialect in DIALECTS)} need; export it in one of these"
        )
    raise BillRefused(
        f"{where}: nearest to {nearest.name}, but without {', '.join(missing)}; export these columns too, or give their"
        " one value under bills.sources[].complete"
    )


def _some(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(name[:40] for name in names[:most])
    return shown if len(names) <= most else f"{shown}, ..."
