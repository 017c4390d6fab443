"""Label selectors as kubectl writes them: ``team=nlp,env in (dev,test),!keep``; all must fit."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from controller.time_windows import SpecRefused

_KEY = r"(?:[A-Za-z0-9.-]+/)?[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_VALUE = r"[A-Za-z0-9._-]*"
_TERM = re.compile(
    rf"\s*(?:(?P<absent>!)\s*(?P<missing>{_KEY})"
    rf"|(?P<key>{_KEY})\s*(?:(?P<equal>==?|!=)\s*(?P<value>{_VALUE})"
    rf"|\s(?P<set>in|notin)\s*\((?P<values>[^()]*)\))?)\s*(?P<end>,|$)"
)
_SETS = re.compile(rf"\s*{_VALUE}\s*(?:,\s*{_VALUE}\s*)*")


@dataclass(frozen=True, slots=True)
class Term:
    """One condition."""

    key: str
    kind: Literal["in", "notin", "exists", "absent"]
    values: frozenset[str] = frozenset()

    def fits(self, labels: Mapping[str, str]) -> bool:
        """Whether labels fulfil it; ``notin`` is fulfilled by a label that is not there."""
        found = labels.get(self.key)
        if self.kind in {"exists", "absent"}:
            return (found is not None) == (self.kind == "exists")
        return (found in self.values) == (self.kind == "in")


def parse_selector(text: str) -> tuple[Term, ...]:
    """Read a selector; empty: no condition.

    Raises:
        SpecRefused: it is not understood.
    """
    terms: list[Term] = []
    at = 0
    while text.strip() and at < len(text):
        match = _TERM.match(text, at)
        if match is None or (match["values"] is not None and not _SETS.fullmatch(match["values"])):
            raise SpecRefused(
                text, at, len(text) - at, "is no label selector; write such as team=nlp,env in (dev,test),!keep"
            )
        terms.append(_term(match))
        at = match.end()
        if match["end"] == "," and not text[at:].strip():
            raise SpecRefused(text, at - 1, 1, "a comma with no condition after it")
    return tuple(terms)


def fits(terms: tuple[Term, ...], labels: Mapping[str, str]) -> bool:
    """Whether labels fulfil all terms."""
    return all(term.fits(labels) for term in terms)


def _term(match: re.Match[str]) -> Term:
    if match["absent"]:
        return Term(match["missing"], "absent")
    if match["equal"]:
        return Term(match["key"], "notin" if match["equal"] == "!=" else "in", frozenset({match["value"]}))
    if match["set"]:
        values = frozenset(value.strip() for value in match["values"].split(","))
        return Term(match["key"], "in" if match["set"] == "in" else "notin", values)
    return Term(match["key"], "exists")
