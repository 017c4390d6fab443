"""Who the agents are: a list, and what the API server tells of their pods."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from collectors.errors import SourceError
from collectors.journal_pull import AgentAddress
from collectors.kube_api import KubeApi, Resource
from collectors.kube_json import JsonObject, text


@dataclass(frozen=True, slots=True)
class PodSearch:
    """Which pods are agents."""

    namespace: str
    selector: str
    """Labels, as a label selector."""
    scheme: str
    port: int


@dataclass(frozen=True, slots=True)
class PodAgents:
    """The agents of a cluster: running pods that bear the labels."""

    api: KubeApi
    search: PodSearch

    def addresses(self) -> Sequence[AgentAddress]:
        """One for each, by the address of its pod; it has to answer as its own node.

        Raises:
            Unavailable: the API server does not answer or refuses; the message has the remedy.
        """
        resource = Resource(
            f"/api/v1/namespaces/{quote(self.search.namespace, safe='')}/pods",
            field_selector="status.phase=Running",
            label_selector=self.search.selector,
            dropped=frozenset({"managedFields", "volumes", "containers", "initContainers", "containerStatuses"}),
        )
        found = self.api.list(resource, self._address, "0").items
        return sorted((each for each in found if each is not None), key=lambda each: each.node)

    def _address(self, pod: JsonObject) -> AgentAddress | None:
        node, address = text(pod, "spec", "nodeName"), text(pod, "status", "podIP")
        if not node or not address or text(pod, "metadata", "deletionTimestamp"):
            return None
        host = f"[{address}]" if ":" in address else address
        return AgentAddress(f"{self.search.scheme}://{host}:{self.search.port}", node)


class KnownAgents:
    """All of them together.

    Args:
        listed: those that the configuration names.
        found: asks who else there is; ``None``: nobody is asked.
    """

    def __init__(
        self, listed: Sequence[AgentAddress] = (), found: Callable[[], Sequence[AgentAddress]] | None = None
    ) -> None:
        self._listed = {each.url: each for each in listed}
        self._ask = found
        self._found: Sequence[AgentAddress] = ()
        self.failure: SourceError | None = None
        """Why nobody could tell who else there is, when the addresses were asked for last; ``None``: all are told."""

    def addresses(self) -> Sequence[AgentAddress]:
        """The list first; an address stands once. While nobody tells who else there is, those told last stay.

        Raises:
            SourceError: it cannot be told who there is, and none is known.
        """
        self.failure = None
        try:
            self._found = () if self._ask is None else self._ask()
        except SourceError as error:
            if not self._listed and not self._found:
                raise
            self.failure = error
        return [*self._listed.values(), *(each for each in self._found if each.url not in self._listed)]
