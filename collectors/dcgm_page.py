"""A dcgm-exporter's page on this node: activity that NVML does not give (MIG before Hopper, SM and tensor activity).

Owns the fetch, DCGM's names, units and blank values, and the filling of a sweep. Must never replace what the driver
itself gave, and never keep a value beyond its age. Power, energy and temperature of a MIG row are the whole device's
and are not taken.
"""

import http.client
import socket
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

from collectors.clock import NS_PER_SECOND, Clock
from collectors.errors import Misconfigured, Unavailable
from collectors.openmetrics import PageRefused, Sample, parse_mapped, read_page
from collectors.readings import Activity, DeviceSweep, GpuReading, Links, Memory
from collectors.web_address import masked

MAX_PAGE_BYTES = 16 * 1024 * 1024
"""Cap of a page: fifty times that of 16 devices with 7 MIG instances each."""
FETCH_SECONDS = 2.0
"""Limit of a whole fetch, connection included."""

_BYTES_PER_MIB = 1024 * 1024
_ACTIVITY = {
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": ("graphics", 1.0),
    "DCGM_FI_PROF_SM_ACTIVE": ("sm", 1.0),
    "DCGM_FI_PROF_SM_OCCUPANCY": ("sm_occupancy", 1.0),
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": ("tensor", 1.0),
    "DCGM_FI_PROF_DRAM_ACTIVE": ("dram", 1.0),
    "DCGM_FI_DEV_GPU_UTIL": ("duty_cycle", 0.01),
    "DCGM_FI_DEV_MEM_COPY_UTIL": ("memory_controller", 0.01),
    "DCGM_FI_DEV_ENC_UTIL": ("encoder", 0.01),
    "DCGM_FI_DEV_DEC_UTIL": ("decoder", 0.01),
}
"""DCGM's name to ours and the factor to a ratio."""
_MEMORY = {
    "DCGM_FI_DEV_FB_TOTAL": "total_bytes",
    "DCGM_FI_DEV_FB_USED": "used_bytes",
    "DCGM_FI_DEV_FB_RESERVED": "reserved_bytes",
}
_PCIE_RX, _PCIE_TX = "DCGM_FI_PROF_PCIE_RX_BYTES", "DCGM_FI_PROF_PCIE_TX_BYTES"
_NVLINK_RX, _NVLINK_TX = "DCGM_FI_PROF_NVLINK_RX_BYTES", "DCGM_FI_PROF_NVLINK_TX_BYTES"
_NAMES = frozenset({*_ACTIVITY, *_MEMORY, _PCIE_RX, _PCIE_TX, _NVLINK_RX, _NVLINK_TX})

# dcgm_structs.h: blank, not found, not supported and not permitted are the 16 values from each of these on.
_BLANK_INT32 = range(0x7FFFFFF0, 0x80000000)
_BLANK_FP64 = 2.0**47
_MOST_RATIO = 1.05
"""Counters that DCGM divides are sampled at slightly different moments; what is further above 1 is no ratio."""


@dataclass(frozen=True, slots=True)
class DcgmReading:
    """What the page says of one device, or of one GPU instance of it."""

    activity: Activity
    memory: Memory
    links: Links
    """Rates; of a device only."""
    profile: str | None = None
    """The MIG profile of the instance, such as ``1g.5gb``."""


DcgmReadings = Mapping[tuple[str, int | None], DcgmReading]
"""By the device's UUID and the GPU instance's id (``None``: the device itself)."""


class DcgmPage:
    """Fetches the page and remembers the last good one for as long as it may be used.

    ``read`` blocks for up to :data:`FETCH_SECONDS` and belongs in a thread of its own; ``current`` never blocks.

    Args:
        url: the page, such as ``http://localhost:9400/metrics``.
        clock: tells the age.
        stale_after_seconds: after this time without a good fetch nothing is given. The exporter itself reads DCGM only
            every 30 s unless told otherwise, which adds to the age and cannot be seen.
        fetch: gets the whole page of a URL or raises Unavailable.

    Raises:
        Misconfigured: the URL is not one of http or https.
    """

    def __init__(
        self,
        url: str,
        clock: Clock,
        *,
        stale_after_seconds: float = 45.0,
        fetch: Callable[[str], bytes] | None = None,
    ) -> None:
        _split(url)
        self._url = url
        self._clock = clock
        self._stale_after_ns = round(stale_after_seconds * NS_PER_SECOND)
        self._fetch = fetch or fetch_page
        self._last: tuple[int, DcgmReadings] | None = None

    def read(self) -> DcgmReadings:
        """Fetch the page now.

        Raises:
            Unavailable: nothing usable came; the message names the URL and the remedy. ``current`` goes on with the
                last good page until that is stale.
        """
        # Taken before the fetch: the values are at least this old.
        asked_ns = self._clock.monotonic_ns()
        try:
            readings = parse_page(self._fetch(self._url))
        except PageRefused as error:
            raise Unavailable(f"{self._url}: {error}; it has to be the metrics page of dcgm-exporter") from error
        if not readings:
            raise Unavailable(
                f"{self._url}: the page has no DCGM_FI_* value of any GPU; check that it is dcgm-exporter's, and which "
                "fields its -f CSV file lists"
            )
        self._last = asked_ns, readings
        return readings

    def current(self) -> DcgmReadings:
        """The last good page, or nothing where that is stale or there was none."""
        last = self._last
        if last is None or self._clock.monotonic_ns() - last[0] > self._stale_after_ns:
            return {}
        return last[1]


def parse_page(page: bytes) -> DcgmReadings:
    """The readings in a whole page. Blank values, NaN, and what cannot be a ratio or an amount are absent.

    Raises:
        PageRefused: it is no metrics page.
    """
    rows: dict[tuple[str, int | None], dict[str, Sample]] = {}
    for sample in parse_mapped(page, _NAMES, whole=True).samples:
        key = _key(sample.labels)
        if key is not None:
            # Virtual GPUs stand once for each of their pods, with the device's own value each time.
            rows.setdefault(key, {}).setdefault(sample.name, sample)
    return {key: _reading(key[1], row) for key, row in rows.items()}


def merge(sweep: DeviceSweep, readings: DcgmReadings) -> DeviceSweep:
    """Fill what the driver did not give, and nothing else; whatever activity is filled is ``dcgm``'s.

    The page speaks of GPU instances. One that is cut into several compute instances is left as it is, since the page
    does not tell whose activity it was; so is one whose profile is another by now.
    """
    device_uuid = sweep.device.device.uuid
    owners = [reading.mig.gpu_instance_id for reading in sweep.instances if reading.mig is not None]
    instances = tuple(
        _fill(reading, _of_instance(reading, readings))
        if reading.mig is not None and owners.count(reading.mig.gpu_instance_id) == 1
        else reading
        for reading in sweep.instances
    )
    return replace(sweep, device=_fill(sweep.device, readings.get((device_uuid, None))), instances=instances)


def fetch_page(url: str) -> bytes:
    """The body of ``url``, by HTTP, not through a proxy and not following redirects.

    Raises:
        Unavailable: no connection within :data:`FETCH_SECONDS`, no whole answer within as much again, another status
            than 200, or more than :data:`MAX_PAGE_BYTES`.
    """
    late = threading.Event()
    try:
        with closing(_connect(_split(url))) as connection, _deadline(connection.sock, late):
            body = _get(connection, url)
    except (OSError, http.client.HTTPException) as error:
        if not late.is_set():
            raise Unavailable(
                f"{url} does not answer ({str(error) or type(error).__name__}): "
                "start dcgm-exporter, or correct its address"
            ) from error
    else:
        if not late.is_set():
            return body
    raise Unavailable(f"{url} did not end within {FETCH_SECONDS:g} s: look at dcgm-exporter's load, or its address")


def _get(connection: http.client.HTTPConnection, url: str) -> bytes:
    parts = _split(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection.request("GET", target, headers={"Accept": "text/plain;version=0.0.4"})
    with connection.getresponse() as response:
        if response.status != http.client.OK:
            raise Unavailable(f"{url} answers {response.status} {response.reason}: look at dcgm-exporter's log")
        body = read_page(response, MAX_PAGE_BYTES)
        # Without a length the end of the stream is no proof of the end of the page; the end of a line has to be.
        if response.length or (response.length is None and not response.chunked and not body.endswith(b"\n")):
            raise http.client.IncompleteRead(body, response.length)
    return body


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        usable = usable and "@" not in parts.netloc
    except ValueError:
        usable = False
    else:
        if usable:
            return parts
    raise Misconfigured(
        f"the address of a dcgm-exporter's page is {masked(url)!r}: it has to be http://HOST:PORT/metrics"
    )


def _connect(parts: SplitResult) -> http.client.HTTPConnection:
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=FETCH_SECONDS)
    connection.connect()
    return connection


@contextmanager
def _deadline(connected: socket.socket, late: threading.Event) -> Generator[None]:
    """Cut the connection when its time is over: a socket's own timeout begins anew with each byte."""

    def cut() -> None:
        late.set()
        with suppress(OSError):
            # The plain one: that of TLS would pull the session from under the reader.
            socket.socket.shutdown(connected, socket.SHUT_RDWR)

    watchdog = threading.Timer(FETCH_SECONDS, cut)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()
        watchdog.join()


def _key(labels: Mapping[str, str]) -> tuple[str, int | None] | None:
    uuid = labels.get("UUID") or labels.get("uuid")
    instance = labels.get("GPU_I_ID", "")
    if not uuid or (instance and not instance.isdecimal()):
        return None
    return uuid, int(instance) if instance else None


def _reading(instance: int | None, row: Mapping[str, Sample]) -> DcgmReading:
    ratios = {ours: _ratio(row[name].value * factor) for name, (ours, factor) in _ACTIVITY.items() if name in row}
    amounts = {ours: _amount(row[name].value) for name, ours in _MEMORY.items() if name in row}
    profiles = (sample.labels.get("GPU_I_PROFILE") for sample in row.values())
    return DcgmReading(
        activity=Activity(**ratios),
        memory=Memory(**{ours: None if mib is None else round(mib * _BYTES_PER_MIB) for ours, mib in amounts.items()}),
        links=_links(row) if instance is None else Links(),
        profile=next((profile for profile in profiles if profile), None),
    )


def _links(row: Mapping[str, Sample]) -> Links:
    def rate(name: str) -> float | None:
        return _amount(row[name].value) if name in row else None

    return Links(
        pcie_rx_bytes_per_second=rate(_PCIE_RX),
        pcie_tx_bytes_per_second=rate(_PCIE_TX),
        nvlink_rx_bytes_per_second=rate(_NVLINK_RX),
        nvlink_tx_bytes_per_second=rate(_NVLINK_TX),
    )


def _amount(value: float) -> float | None:
    blank = value >= _BLANK_FP64 or value in _BLANK_INT32
    return value if value >= 0 and not blank else None


def _ratio(value: float) -> float | None:
    return min(value, 1.0) if 0 <= value <= _MOST_RATIO else None


def _of_instance(reading: GpuReading, readings: DcgmReadings) -> DcgmReading | None:
    if reading.mig is None:
        return None
    found = readings.get((reading.device.uuid, reading.mig.gpu_instance_id))
    if found is None or (found.profile and _bare(found.profile) != _bare(reading.mig.profile)):
        return None
    return found


def _bare(profile: str) -> str:
    """``1c.3g.20gb+me`` without its compute instance and its media engines: ``3g.20gb``."""
    return ".".join(part for part in profile.partition("+")[0].split(".") if not part.endswith("c"))


def _fill(reading: GpuReading, found: DcgmReading | None) -> GpuReading:
    if found is None:
        return reading
    activity = _fill_absent(reading.activity, found.activity)
    return replace(
        reading,
        activity=activity,
        activity_source=reading.activity_source if activity is reading.activity else "dcgm",
        memory=_fill_absent(reading.memory, found.memory),
        links=_fill_absent(reading.links, found.links),
    )


_Part = TypeVar("_Part", Activity, Memory, Links)


def _fill_absent(known: _Part, found: _Part) -> _Part:
    absent = [name for name in known.__slots__ if getattr(known, name) is None]
    filling = {name: value for name in absent if (value := getattr(found, name)) is not None}
    return replace(known, **filling) if filling else known
