"""Addresses of a cluster. Each has a slot of its own, so that several can stand on one machine.

All lie in 198.18.0.0/15, which RFC 2544 sets aside for tests: no network that the machine needs is shadowed. Out of the
cluster's network namespace lead only routes to the machine itself.
"""

from dataclasses import dataclass

SLOTS = 16
MAX_NODES = 14


@dataclass(frozen=True, slots=True)
class Network:
    """The addresses of the cluster in one slot: sixteen networks of 256, of which the first is the services'."""

    slot: int

    @property
    def name(self) -> str:
        """Of the cluster's link on the host, and of its cgroup."""
        return f"wattledger{self.slot}"

    @property
    def everything(self) -> str:
        return f"{self._part(0)}.0/20"

    @property
    def services(self) -> str:
        return f"{self._part(0)}.0/24"

    @property
    def api_service_address(self) -> str:
        return f"{self._part(0)}.1"

    @property
    def host_address(self) -> str:
        """This machine, as pods see it."""
        return f"{self._part(15)}.1"

    @property
    def api_address(self) -> str:
        """The API server, for this machine and for pods."""
        return f"{self._part(15)}.2"

    def pods(self, node: int) -> str:
        """The network of a node's pods, by the node's place from 0."""
        return f"{self._part(1 + node)}.0/24"

    def node_address(self, node: int) -> str:
        return f"{self._part(1 + node)}.1"

    def _part(self, number: int) -> str:
        return f"198.18.{16 * self.slot + number}"
