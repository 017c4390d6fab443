"""What the store raises: one line that says what, where and what to do. Never a secret.

StoreError
├── Fenced       a newer leader keeps the books: this process must stop writing
└── NewerTable   a table is of a newer wattledger or a newer Delta: this process must not touch it
"""

import re
from collections.abc import Iterable


class StoreError(Exception):
    """The ledger could not be read or written; what stood in it before still stands."""


class Fenced(StoreError):  # noqa: N818  (named for the caller's move: stop)
    """A newer epoch has been claimed; nothing was written, and nothing this writer does will be."""


class NewerTable(StoreError):  # noqa: N818
    """The table is of a newer schema or protocol; nothing was changed in it."""


_REMEDIES = (
    (
        r"no space left|os error 28|disk quota|os error 122|file too large|os error 27|storagefull",
        "no room is left: free or enlarge that volume; what was written before stands, and the next try books it again",
    ),
    (
        r"read-only file system|os error 30",
        "that volume is mounted read-only: mount it writable, or set ledger.root to another place",
    ),
    (
        r"nosuchbucket|bucket does not exist|the specified bucket",
        "the bucket does not exist: create it, or set ledger.root to one that does",
    ),
    (
        r"signaturedoesnotmatch|invalidaccesskeyid|expiredtoken|invalidtoken|tokenrefreshrequired",
        "the credentials are refused: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the pod's role",
    ),
    (
        r"access ?denied|permission denied|os error 13|forbidden|unauthorized|\b403\b|\b401\b",
        "no permission: allow s3:GetObject, PutObject, DeleteObject and ListBucket, or give the directory to this user",
    ),
    (
        r"missing region|region must be|permanentredirect|authorizationheadermalformed",
        "the bucket's region is another: set AWS_REGION to it",
    ),
    (
        r"credential|imds|metadata token|169\.254",
        "no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run with a role",
    ),
    (
        r"connect|dns|timed out|timeout|error sending request|unreachable|builder error|badscheme",
        "the endpoint does not answer: check AWS_ENDPOINT_URL and the network (plain http needs AWS_ALLOW_HTTP=true)",
    ),
    (
        r"not a directory|os error 20|is a directory|os error 21|file exists|os error 17",
        "something that is no directory is in the way: move it, or set ledger.root to another place",
    ),
    (
        r"rows failed validation check",
        "rows lie outside of what they were to replace; that is a fault of the program: report it with this line",
    ),
    (
        r"no such file|not found|os error 2\b|\b404\b",
        "a file of the table is gone: restore the ledger from its backup, or read a later version",
    ),
)


def explained(doing: str, uri: str, error: BaseException, secrets: Iterable[str] = ()) -> StoreError:
    """The error as one line with its remedy.

    Args:
        doing: What was tried, such as ``write usage``.
        uri: The table, or the ledger's root.
        error: What came; its text is cut to the first line that says something.
        secrets: Values that must not be shown, should a library have put one into its text.
    """
    text = " ".join(str(error).split())
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    remedy = next((say for pattern, say in _REMEDIES if re.search(pattern, text, re.IGNORECASE)), None)
    return StoreError(f"cannot {doing} at {uri}: {remedy or 'see the reason'} ({_short(text)})")


def _short(text: str, most: int = 300) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
