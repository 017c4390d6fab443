"""What may stand in a setting that is an address of the web: no name and no password, whose place is a file.

An address is shown in logs, metrics and answers of the API. Owns the one rule for all of them, and how text of a
setting is shown where it may hold a password.
"""

import re
from urllib.parse import urlsplit

_BEFORE_AT = re.compile(r"(?<=://).*@|^(?!\w+://).*@", re.DOTALL)


def masked(text: str) -> str:
    """The text with what may be a name and a password before an ``@`` made unreadable."""
    return _BEFORE_AT.sub("***@", text)


def web_address(url: str, *, such_as: str, instead: str) -> str:
    """The address as it was given.

    Args:
        url: the setting's value.
        such_as: an address for an example, or what else is allowed.
        instead: where the credential belongs.

    Raises:
        ValueError: it is no http or https address, or bears an ``@``, before which a password could stand; the words
            say what is allowed and show nothing of it.
    """
    if "@" in url:
        raise ValueError(
            f"{masked(url)} bears a name or a password before its @, which would be shown to others, allowed: an "
            f"address without it; {instead}"
        )
    if not _is_web_address(url):
        raise ValueError(f"allowed: an http or https address, such as {such_as}")
    return url


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in {"http", "https"}
            and bool(parts.hostname)
            and parts.port != 0
            and url.isprintable()
            and " " not in url
        )
    except ValueError:
        return False
