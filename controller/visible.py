"""Text that others wrote, as it may be shown: an annotation must not steer the terminal of whoever reads it."""


def visible(text: str) -> str:
    """The text with a mark in place of each character that cannot be printed, as long as it was; lines stay."""
    return "".join(each if each.isprintable() or each == "\n" else "\N{REPLACEMENT CHARACTER}" for each in text)
