"""What the API server may refuse, named for the follower's next move.

Unavailable
├── Refused      somebody must give a right; the message says which
│   ├── Unauthorized  401: the token is not accepted
│   └── Forbidden     403: the token bears no right to this
├── Expired      410: the resource version is too old (or too new): list again
├── Conflict     409: somebody else wrote it first: read it again
├── Rejected     400, 422: what was to be written is not accepted, now or later
├── Busy         429, 503: not before ``retry_after_seconds``
└── Malformed    what answers does not speak the API, or an object is over the limit
"""

import re
from dataclasses import dataclass

from collectors.errors import Unavailable, Unsupported

_MOST_SECONDS = 300


class Refused(Unavailable):
    """The token is not accepted, or bears no right to this."""


class Unauthorized(Refused):
    """The token is not accepted at all."""


class Forbidden(Refused):
    """The token is accepted, and bears no right to this."""


class Expired(Unavailable):
    """The server no longer has that resource version."""


class Conflict(Unavailable):
    """The object is there already, or is not as it was read: another wrote it."""


class Rejected(Unavailable):
    """The server, or an admission webhook or policy of the cluster, does not accept what was to be written."""


class Malformed(Unavailable):
    """The answer is not what an API server says; nothing of it may be used."""


class Busy(Unavailable):
    """The server asks to be left alone for a while."""

    def __init__(self, message: str, retry_after_seconds: int, *, untouched: bool = False) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.untouched = untouched
        """It is certain that nothing was written: the server did not take the request up (429)."""


_PLAIN = {400: Rejected, 404: Unsupported, 409: Conflict, 422: Rejected}
_DENIED = re.compile("admission webhook|ValidatingAdmissionPolicy|exceeded quota")
"""In the message of a 403 that no role would prevent."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An answer that is no success."""

    server: str
    path: str
    verb: str
    status: int
    message: str
    reasons: frozenset[str] = frozenset()
    """The reason of the Status object and of its causes."""
    retry_after: str = ""

    def error(self) -> Exception:
        """The error to raise: ``Unsupported`` where there is no such resource, else ``Unavailable`` or a kind of it."""
        said = f"the API server at {self.server} answered {self.verb} {self.path} with HTTP {self.status}"
        said += f" ({self.message})" if self.message else ""
        # 504 "Too large resource version": the store was set back, and what was seen is ahead of it
        if self.status == 410 or "ResourceVersionTooLarge" in self.reasons:  # noqa: PLR2004
            return Expired(said)
        if self.status == 401:  # noqa: PLR2004
            return Unauthorized(
                f"{said}: it does not accept the token of the service account that asks; see that it still exists"
            )
        if self.status == 403:  # noqa: PLR2004
            return self._forbidden(said)
        if self.status in _PLAIN:
            return _PLAIN[self.status](said)
        if self.status in {429, 503} or self.retry_after:
            return Busy(said, self._seconds(), untouched=self.status == 429)  # noqa: PLR2004
        return Unavailable(said)

    def _forbidden(self, said: str) -> Exception:
        if _DENIED.search(self.message):
            return Rejected(said)
        return Forbidden(f"{said}: give the service account that asks {self._right()} in its ClusterRole")

    def _right(self) -> str:
        resource, *rest = re.sub(r"^/(api/v1|apis/[^/]+/[^/]+)/(namespaces/[^/]+/)?", "", self.path).split("/")
        group = self.path.split("/")[2] if self.path.startswith("/apis/") else ""
        whole = "/".join([resource, *rest[1:]])
        return f"{_verbs(self.verb, resource)} on {whole}" + (f" of {group}" if group else "")

    def _seconds(self) -> int:
        return min(int(self.retry_after), _MOST_SECONDS) if re.fullmatch("[0-9]{1,9}", self.retry_after) else 0


def _verbs(verb: str, resource: str) -> str:
    if resource == "leases":
        return "the verbs get, create and update"
    return f"the verb {verb}" if verb in {"create", "patch", "delete"} else "the verbs get, list and watch"
