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


_NEWER = re.compile(
    r"unsupported minimum (reader|writer) version|feature '.*' is not supported|unsupported table features"
    r"|table features must be specified|requires (reader|writer) (version|feature)",
    re.IGNORECASE,
)
_REMEDIES = (
    (
        r"no space left|os error 28|disk quota|os error 122|file too large|os error 27|\b507\b",
        "no room is left there: free or enlarge that volume; what stood before still stands",
    ),
    (
        r"read-only file system|os error 30",
        "that volume is mounted read-only: mount it writable, or set ledger.root to another place",
    ),
    (
        r"nosuchbucket|bucket does not exist",
        "the bucket does not exist: create it, or set ledger.root to one that does",
    ),
    (
        r"169\.254\.|imds|no credentials|credentialsnotloaded|unable to load credentials",
        "no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run with a role",
    ),
    (
        r"signaturedoesnotmatch|invalidaccesskeyid|expiredtoken|invalidtoken|invalidclienttokenid|tokenrefreshrequired",
        "the credentials are refused: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the pod's role",
    ),
    (
        r"access ?denied|permission denied|os error 13|os error 1\b|forbidden|unauthorized|\b40[13] ",
        "no permission: allow s3:GetObject, PutObject, DeleteObject and ListBucket, or give the directory to this user",
    ),
    (
        r"missing region|permanentredirect|authorizationheadermalformed|\b301 ",
        "the bucket is in another region: set AWS_REGION to it",
    ),
    (
        r"scheme is not allowed",
        "plain http is off: give an https endpoint, or set AWS_ALLOW_HTTP=true",
    ),
    (
        r"not a directory|os error 20|is a directory|os error 21|file exists|os error 17",
        "something that is no directory is in the way: move it, or set ledger.root to another place",
    ),
    (
        r"connect|dns|timed? ?out|error sending request|unreachable|\b50[0234] ",
        "the store does not answer: check AWS_ENDPOINT_URL and the network; it is tried again",
    ),
    (
        r"conversion from .* failed",
        "a value does not fit its column, so nothing was written: put it right where it comes from",
    ),
    (
        r"rows failed validation check",
        "rows lie outside of what they were to replace: a fault of the program, report it with this line",
    ),
    (
        r"the specified end version|log ?segment end",
        "that version is not kept any more, or never was: read a later one, and raise ledger.history_days",
    ),
    (
        r"json error|truncated record",
        "the table's log is damaged: restore the ledger from its backup, or take the last file of _delta_log away",
    ),
    (
        r"no such file|not ?found|os error 2\b|\b404 ",
        "a file of the table is gone: restore the ledger from its backup",
    ),
)


def explained(doing: str, uri: str, error: BaseException, secrets: Iterable[str] = ()) -> StoreError:
    """The error as one line with its remedy.

    Args:
        doing: What was tried, such as ``write usage``.
        uri: The table, or the ledger's root.
        error: What came.
        secrets: Values that must not be shown, should a library have put one into its text.
    """
    text = _one_line(str(error), secrets)
    if _NEWER.search(text):
        return NewerTable(
            f"cannot {doing} at {uri}: the table needs a newer Delta than this wattledger has, nothing was changed:"
            f" upgrade wattledger, or take the feature off the table ({_short(text)})"
        )
    remedy = next((say for pattern, say in _REMEDIES if re.search(pattern, text, re.IGNORECASE)), None)
    return StoreError(f"cannot {doing} at {uri}: {remedy or 'the reason is'} ({_short(text)})")


def _one_line(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    text = re.sub(r"(C Data interface error: )+", "", text)
    text = re.sub(r"\x1b\[[0-9;]*m|↳", " ", text)
    text = re.sub(r"<\?xml.*?<Code>(.*?)</Code>.*?<Message>(.*?)</Message>.*", r"\1: \2", text, flags=re.DOTALL)
    text = re.sub(r"\b(AKIA|ASIA)[A-Z0-9]{12,}|(?i:(signature|token|secret)=)[^\s&]+", "***", text)
    return " ".join(text.split())


def _short(text: str, most: int = 300) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
