"""Compiles mapped metric names into one expression that finds their lines in a whole page.

Owns that expression and the meaning of its groups; the page must start with a line feed, as each match does.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

_NAME_CHARACTER = "[a-zA-Z0-9_:]"
_DECIMAL = r"[-+]?[0-9]++(?:\.[0-9]*+)?(?:[eE][-+]?[0-9]++)?"
_NEVER = "(?!)"


class FoundLine(NamedTuple):
    """The groups of one match, empty where they took no part. A plain line has a value; others are odd or quoted."""

    name: str
    label_text: str
    value: str
    timestamp: str
    odd: str
    """What follows the name on a line that is not plain."""
    quoted: str
    """A whole line that gives its name in quotes within the braces."""


class _Node:
    __slots__ = ("children", "ends")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.ends = False

    def add(self, word: str) -> None:
        node = self
        for character in word:
            node = node.children.setdefault(character, _Node())
        node.ends = True

    def expression(self) -> str:
        stem, node = "", self
        while len(node.children) == 1 and not node.ends:
            ((character, node),) = node.children.items()
            stem += re.escape(character)
        branches = [re.escape(character) + child.expression() for character, child in sorted(node.children.items())]
        if not branches:
            return stem
        return f"{stem}(?:{'|'.join(branches)}){'?' if node.ends else ''}"


def _any_of(words: Iterable[str]) -> str:
    """One expression for many words that tries each character once (a plain alternation tries each word)."""
    root = _Node()
    for word in words:
        root.add(word)
    return root.expression() or _NEVER


def _quoted(word: str) -> str:
    return word.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


@lru_cache(maxsize=64)
def line_expression(names: frozenset[str], prefixes: frozenset[str]) -> re.Pattern[str]:
    """Finds each line whose metric name is in ``names`` or starts with one of ``prefixes``; see ``FoundLine``."""
    bare = f"(?:{_any_of(names)}|{_any_of(prefixes)}{_NAME_CHARACTER}*+)"
    quoted = f"(?:{_any_of(map(_quoted, names))}|{_any_of(map(_quoted, prefixes))}" + r'(?:[^"\\\n]|\\.)*+)'
    plain = rf"(?:\{{(.*)\}})?[ \t]++({_DECIMAL}|NaN|[-+]?Inf)(?:[ \t]++({_DECIMAL}))?[ \t]*+(?=\n)"
    return re.compile(rf'\n[ \t]*+(?:({bare})(?!{_NAME_CHARACTER})(?:{plain}|(.*))|(\{{[ \t]*+"{quoted}".*))')
