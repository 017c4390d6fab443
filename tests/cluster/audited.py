"""A real API server that writes down what one user asks for: its own testimony, which costs neither side a proxy."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from controller.scaling.informers import PAGE_OBJECTS
from tests.cluster.api_only import ApiServer

USER = "scaler"
"""As whom the controller asks."""
_PAGE = f"limit={PAGE_OBJECTS}"
_POLICY = f"""apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {{level: Metadata, users: [{USER}]}}
- {{level: None}}
"""


@dataclass(frozen=True, slots=True)
class Call:
    """A request of the controller, as the server wrote it down."""

    verb: str
    resource: str
    """With its subresource, such as ``deployments/scale``; of what is no resource its path."""
    came: datetime
    ended: datetime
    code: int
    uri: str = ""
    namespace: str = ""
    name: str = ""

    @property
    def of_books(self) -> bool:
        """Whether the same process asks for its books: what nodes and agents there are, and what quotas grant.

        Lists of scaling are told by the length of their pages, which is theirs alone.
        """
        return "kueue" in self.uri or (self.verb == "list" and _PAGE not in self.uri)

    @property
    def writes(self) -> bool:
        """Whether it changes a workload."""
        return self.verb == "patch"

    @property
    def renews(self) -> bool:
        """Whether it is about the Lease."""
        return self.resource == "leases"


class AuditedServer(ApiServer):
    """Writes down what the controller asks for."""

    def calls(self) -> list[Call]:
        """All requests so far but watches that have not begun."""
        return [call for line in self._lines() if (call := _call(json.loads(line))) is not None]

    def _lines(self) -> Iterator[str]:
        with (self.folder / "audit.log").open(encoding="utf-8") as log:
            yield from (line for line in log if line.endswith("\n"))

    def _run(self, name: str, *arguments: str) -> None:
        if name == "kube-apiserver":
            policy = self.folder / "audit-policy.yaml"
            policy.write_text(_POLICY, encoding="utf-8")
            arguments += (f"--audit-policy-file={policy}", f"--audit-log-path={self.folder}/audit.log")
        super()._run(name, *arguments)


def _call(event: dict[str, Any]) -> Call | None:
    watches = event["verb"] == "watch"
    if watches != (event["stage"] == "ResponseStarted"):
        return None
    about = cast("dict[str, str]", event.get("objectRef") or {})
    parts = (about.get("resource"), about.get("subresource"))
    return Call(
        verb=event["verb"],
        resource="/".join(part for part in parts if part) or event["requestURI"],
        came=_moment(event["requestReceivedTimestamp"]),
        ended=_moment(event["stageTimestamp"]),
        code=int(event.get("responseStatus", {}).get("code", 0)),
        uri=event["requestURI"],
        namespace=about.get("namespace", ""),
        name=about.get("name", ""),
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
