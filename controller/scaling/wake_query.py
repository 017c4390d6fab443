"""Whether a query can wake a workload that has no pod: a look at its words, without Prometheus.

It stands within ``sum(...)``, so it must close what it opens; and it must be of something that is there while no pod
of the workload is.
"""

import re
from typing import Final

_STRING: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'|`[^`]*`')
_CLOSES: Final = {")": "(", "]": "[", "}": "{"}
_OWN: Final = re.compile(r"wattledger[_:]")
_NAME_IS: Final = re.compile(r"__name__\s*=~?\s*$")
_SELECTOR: Final = re.compile(r"\{[^{}]*\}")
_RANGE: Final = re.compile(r"\[[^\[\]]*\]")
_LABELS: Final = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)", re.IGNORECASE)
_WORD: Final = re.compile(r"(?<![\w.:])[A-Za-z_:][\w:]*")
_CALL: Final = re.compile(r"(?<![\w.:])[A-Za-z_]\w*\s*\(")
_KEYWORDS: Final = frozenset({"and", "or", "unless", "bool", "offset", "atan2", "inf", "nan", "start", "end"})
_MOST_SHOWN: Final = 40


def wake_query_refused(query: str) -> str:
    """Why a query cannot wake a workload; empty: nothing speaks against it."""
    strings: list[tuple[str, str]] = []

    def taken(found: re.Match[str]) -> str:
        strings.append((query[: found.start()], found.group()))
        return '""'

    code = _STRING.sub(taken, query)
    if why := _unbalanced(code):
        return why
    named = any(_NAME_IS.search(before) and _OWN.search(text) for before, text in strings)
    quoted = any(
        before.rstrip().endswith(("{", ",")) and text[1:-1].startswith("wattledger_") for before, text in strings
    )
    if own := next(
        (word for word in _WORD.findall(code) if _OWN.match(word)), "wattledger_..." if named or quoted else ""
    ):
        return (
            f"{own} comes from pods, or from agents beside them, and at 0 replicas there is none: give a query on a "
            "gateway's metric"
        )
    if not _has_metric(code):
        return "it names no metric, so nothing could ever change it: give a query on a gateway's metric"
    return ""


def _unbalanced(code: str) -> str:
    """Why quotes or brackets do not close; ``code`` has no whole strings any more but empty ones."""
    opened: list[tuple[str, int]] = []
    rest = code.replace('""', "  ")
    for place, char in enumerate(rest):
        if char in "\"'`":
            return f"a quote is not closed: {_shown(rest, place)}"
        if char == "#":
            return f"it has a comment, which would hide what follows: {_shown(rest, place)}"
        if char in "([{":
            opened.append((char, place))
        elif char in _CLOSES and (not opened or opened.pop()[0] != _CLOSES[char]):
            return f"{char!r} closes nothing: {_shown(rest, place)}"
    if opened:
        return f"{opened[-1][0]!r} is not closed: {_shown(rest, opened[-1][1])}"
    return ""


def _shown(text: str, place: int) -> str:
    return repr(text[place : place + _MOST_SHOWN])


def _has_metric(code: str) -> bool:
    """Whether anything in it is a metric's name, or a selector by labels alone."""
    bare = _RANGE.sub(" ", code)
    if any("=" in found for found in _SELECTOR.findall(bare)) or '{""' in bare.replace(" ", ""):
        return True
    bare = _LABELS.sub(" ", _SELECTOR.sub(" ", bare))
    words = _WORD.findall(_CALL.sub("(", bare))
    return any(word.lower() not in _KEYWORDS for word in words)
