"""Times of bills: text or timestamps to UTC; what is of another zone, or no time at all, is refused by name."""

import re
from datetime import UTC, datetime

import polars as pl

from collectors.bill_refused import BillRefused
from ledger.tables import TIME

_TIME = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(:\d{2})?(?:\.(\d{1,9}))?)? ?(Z|UTC|[+-]\d{2}(?::?\d{2})?)?", re.ASCII
)
_ZERO = re.compile(r"[+-]00(:?00)?")
_ISO = "2026-11-01T05:00:00Z"


def read_times(column: pl.Series, form: str | None = None) -> pl.Series:
    """A column of times as UTC, microseconds. A time that names no zone is UTC, as FOCUS and AWS have it.

    Args:
        column: text, dates or timestamps.
        form: how text is written, in the letters of ``strptime``; None: ISO 8601.

    Raises:
        BillRefused: the first value that is no time in UTC; the message begins with the value.
    """
    dtype = column.dtype
    if isinstance(dtype, pl.Datetime):
        if dtype.time_zone not in {None, "UTC"}:
            raise BillRefused(f"timestamps in {dtype.time_zone}, not UTC; export them in UTC")
        return column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if isinstance(dtype, pl.Date):
        return column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    texts = column.cast(pl.String)
    distinct = texts.drop_nulls().unique(maintain_order=True)
    known = [_utc(text, form) for text in distinct]
    return texts.replace_strict(distinct, pl.Series(known, dtype=TIME), default=None, return_dtype=TIME)


def _utc(text: str, form: str | None) -> datetime:
    if form is not None:
        return _by_form(text, form)
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise BillRefused(
            f"{text!r} is no time; write it as {_ISO}, or say how it is written: bills.sources[].timestamps"
        )
    day, clock, seconds, fraction, zone = match.groups()
    if zone and zone not in {"Z", "UTC"} and not _ZERO.fullmatch(zone):
        raise BillRefused(f"{text!r} is of another time zone; export times in UTC, as {_ISO}")
    try:
        return datetime.fromisoformat(f"{day}T{clock or '00:00'}{seconds or ':00'}.{(fraction or '')[:6]:0<6}+00:00")
    except ValueError as error:
        raise BillRefused(f"{text!r} is no time ({error}); write it as {_ISO}") from error


def _by_form(text: str, form: str) -> datetime:
    try:
        time = datetime.strptime(text.strip(), form)  # noqa: DTZ007  (the zone is settled below)
    except ValueError as error:
        raise BillRefused(f"{text!r} is not written as {form}, which bills.sources[].timestamps says") from error
    if time.utcoffset():
        raise BillRefused(f"{text!r} is of another time zone; export times in UTC")
    return time.replace(tzinfo=UTC)
