"""Which pod holds which device, as the node's kubelet says over its PodResources v1 socket.

Owns when the kubelet is asked: once per interval, at once when asked to, and never more often than its rate limit
bears (100 a second, burst 10; kept here to one a second). Keeps no answer: the caller holds the last one and its age.
"""

from collections.abc import Callable
from pathlib import Path

from collectors.clock import NS_PER_SECOND, Clock
from collectors.grpc_unary import UnaryCall, call_unary
from collectors.pod_resources_messages import DeviceIds, PodDevices, decode_allocatable, decode_list

DEFAULT_SOCKET = Path("/var/lib/kubelet/pod-resources/kubelet.sock")
LIST_METHOD = "/v1.PodResourcesLister/List"
ALLOCATABLE_METHOD = "/v1.PodResourcesLister/GetAllocatableResources"
INTERVAL_NS = 10 * NS_PER_SECOND
"""Default time between two calls that nothing hurries."""
MIN_GAP_NS = NS_PER_SECOND
"""Least time between two calls, whatever hurries them."""


class PodResources:
    """Asks the kubelet for all pods' devices when that is due.

    ``call`` is the transport: a serialised request in, a serialised answer out, errors as ``call_unary`` has them.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        socket_path: Path = DEFAULT_SOCKET,
        interval_ns: int = INTERVAL_NS,
        call: Callable[[UnaryCall, bytes], bytes] = call_unary,
    ) -> None:
        if interval_ns < MIN_GAP_NS:
            raise ValueError(f"interval is {interval_ns} ns; allowed: {MIN_GAP_NS} or more, for the kubelet's limit")
        self._clock = clock
        self._target = UnaryCall(socket_path, LIST_METHOD)
        self._allocatable = UnaryCall(socket_path, ALLOCATABLE_METHOD)
        self._interval_ns = interval_ns
        self._call = call
        self._last_call_ns: int | None = None
        self._told: tuple[bytes, tuple[PodDevices, ...]] | None = None
        """The last answer and what it says, which most often is what the next one says."""

    def read_if_due(self, *, hurry: bool = False) -> tuple[PodDevices, ...] | None:
        """All pods of the node with their devices, or ``None`` where no call is due.

        ``hurry`` asks ahead of the interval, for a process that nobody explains; it too waits for the least gap, so
        pass it again until an answer comes. A failed call counts as a call.

        Raises:
            Unavailable: no socket, no answer in time, an error status, or an answer that is not whole.
            Unsupported: this kubelet does not have the API.
            Misconfigured: the socket's path is no possible one.
        """
        now_ns = self._clock.monotonic_ns()
        gap_ns = MIN_GAP_NS if hurry else self._interval_ns
        if self._last_call_ns is not None and now_ns - self._last_call_ns < gap_ns:
            return None
        self._last_call_ns = now_ns
        answer = self._call(self._target, b"")
        if self._told is None or self._told[0] != answer:
            self._told = answer, decode_list(answer)
        return self._told[1]

    def read_allocatable(self) -> tuple[DeviceIds, ...]:
        """Every device id that the node's plugins offer, replicas of shared devices included; asked rarely.

        Raises:
            Unavailable, Unsupported, Misconfigured: as :meth:`read_if_due`.
        """
        return decode_allocatable(self._call(self._allocatable, b""))
