"""Whether the cloud has told this machine that it will take it away, or that it may.

Owns the paths and forms of three clouds' notices; asks the link-local metadata server alone. An answer that cannot be
a notice is refused, never taken for one, and never for none.
"""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal, Protocol, cast

from collectors import cloud_aws, cloud_azure, cloud_gcp
from collectors.cloud_metadata import METADATA_SERVER, MetadataServer, Provider, json_strings
from collectors.errors import Unavailable, Unsupported
from collectors.kube_json import JsonObject, child, children, text

NoticeKind = Literal["interruption", "rebalance", "maintenance"]

TOKEN_SECONDS = 6 * 3600
_TOKEN_RENEWAL_SECONDS = TOKEN_SECONDS - 600
_EVENTS_API_VERSION = "2020-07-01"
_GCP_HEADERS = {"Metadata-Flavor": "Google", "Host": "metadata.google.internal"}


@dataclass(frozen=True, slots=True)
class SpotNotice:
    """What the cloud announces."""

    kind: NoticeKind
    """``interruption``: the machine will be taken away. ``rebalance``: it is likelier than others to be.
    ``maintenance``: its host will be serviced, and it stops or moves for that."""
    time_utc: datetime | None
    """When; of a rebalance, when it was announced; ``None`` where the cloud gives no time."""
    action: str
    """The cloud's own word: ``terminate``, ``Preempt``, ``TERMINATE_ON_HOST_MAINTENANCE``."""


class NoticeReader(Protocol):
    """Asks one cloud."""

    def read(self) -> SpotNotice | None:
        """The most serious notice, or ``None`` where the cloud says that there is none.

        Raises:
            Unavailable: the metadata server does not answer, or what answers is not it.
            Unsupported: it answers, but does not tell.
        """
        ...


class AwsNotices:
    """EC2: interruption notices two minutes ahead, rebalance recommendations any time before.

    The session token is kept for most of its six hours, and dropped at any failure.
    """

    def __init__(
        self,
        base_url: str = METADATA_SERVER,
        timeout_seconds: float = 0.5,
        monotonic_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = MetadataServer("AWS", cloud_aws.REMEDY, base_url, timeout_seconds)
        self._now = monotonic_seconds
        self._token: tuple[str, float] | None = None

    def read(self) -> SpotNotice | None:
        """As :meth:`NoticeReader.read`."""
        try:
            return self._interruption() or self._rebalance()
        except Unavailable:
            self._token = None
            raise

    def _interruption(self) -> SpotNotice | None:
        said = self._document("spot/instance-action")
        if said is None:
            return None
        action = self._server.field("spot action", said.get("action", ""), r"[a-z]{2,20}")
        return SpotNotice("interruption", self._time(said.get("time", "")), action)

    def _rebalance(self) -> SpotNotice | None:
        said = self._document("events/recommendations/rebalance")
        return None if said is None else SpotNotice("rebalance", self._time(said.get("noticeTime", "")), "rebalance")

    def _document(self, path: str) -> dict[str, str] | None:
        answer = self._server.find(f"/latest/meta-data/{path}", {"X-aws-ec2-metadata-token": self._session()})
        if answer is None:
            return None
        said = json_strings(answer.text)
        if said is None:
            raise self._server.refusal(f"answered {path} with {answer.text[:60]!r} where a JSON object belongs")
        return said

    def _session(self) -> str:
        if self._token is not None and self._now() < self._token[1]:
            return self._token[0]
        headers = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
        asked = self._server.ask("PUT", "/latest/api/token", headers)
        token = self._server.field("token", asked.text, r"[A-Za-z0-9+/=_-]{16,256}")
        self._token = token, self._now() + _TOKEN_RENEWAL_SECONDS
        return token

    def _time(self, said: str) -> datetime:
        time_utc = iso_time(said)
        if time_utc is None:
            raise self._server.refusal(f"gave {said[:60]!r} as the time of its notice")
        return time_utc


class GcpNotices:
    """Compute Engine: preemption 30 seconds ahead, host maintenance (one hour ahead for GPUs); neither has a time."""

    def __init__(self, base_url: str = METADATA_SERVER, timeout_seconds: float = 0.5) -> None:
        self._server = MetadataServer("Google Cloud", cloud_gcp.REMEDY, base_url, timeout_seconds)

    def read(self) -> SpotNotice | None:
        """As :meth:`NoticeReader.read`."""
        if self._said("preempted", r"TRUE|FALSE") == "TRUE":
            return SpotNotice("interruption", None, "preempted")
        event = self._said("maintenance-event", r"[A-Z_]{4,60}")
        return None if event == "NONE" else SpotNotice("maintenance", None, event)

    def _said(self, name: str, pattern: str) -> str:
        answer = self._server.find(f"/computeMetadata/v1/instance/{name}", _GCP_HEADERS)
        if answer is None:
            raise Unsupported(f"Google Cloud's metadata server does not tell {name}: no notice can be read here")
        if answer.headers.get("metadata-flavor") != "Google":
            raise self._server.refusal(f"answered {name} without its header Metadata-Flavor: Google")
        return self._server.field(name, answer.text, pattern)


class AzureNotices:
    """Azure scheduled events: Preempt 30 seconds ahead, and the platform's or the user's other plans for this machine.

    The service is switched on for a machine by its first request, whose answer may take two minutes.
    """

    def __init__(self, base_url: str = METADATA_SERVER, timeout_seconds: float = 0.5) -> None:
        self._server = MetadataServer("Azure", cloud_azure.REMEDY, base_url, timeout_seconds)
        self._name: str | None = None

    def read(self) -> SpotNotice | None:
        """As :meth:`NoticeReader.read`."""
        events = [event for event in self._events() if self._machine() in _names(event)]
        notices = [self._notice(event) for event in events]
        return min(notices, key=lambda notice: notice.kind != "interruption", default=None)

    def _events(self) -> list[JsonObject]:
        path = f"/metadata/scheduledevents?api-version={_EVENTS_API_VERSION}"
        answer = self._server.get(path, {"Metadata": "true"})
        try:
            said: object = json.loads(answer.text)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(child({"said": said}, "said").get("Events"), list):
            raise self._server.refusal(f"answered {answer.text[:60]!r} where scheduled events belong")
        return list(children(said, "Events"))

    def _machine(self) -> str:
        """This machine's name; the events speak of its whole set of machines."""
        if self._name is None:
            path = f"/metadata/instance/compute/name?api-version={cloud_azure.API_VERSION}&format=text"
            answer = self._server.get(path, {"Metadata": "true"})
            self._name = self._server.field("name", answer.text, r"[A-Za-z0-9._-]{1,80}").lower()
        return self._name

    def _notice(self, event: JsonObject) -> SpotNotice:
        action = self._server.field("event type", text(event, "EventType"), r"[A-Za-z]{3,30}")
        kind: NoticeKind = "interruption" if action in {"Preempt", "Terminate"} else "maintenance"
        return SpotNotice(kind, self._time(text(event, "NotBefore")), action)

    def _time(self, said: str) -> datetime | None:
        """``Mon, 19 Sep 2026 18:29:47 GMT``; empty once the event has begun."""
        if not said:
            return None
        try:
            return parsedate_to_datetime(said).astimezone(UTC)
        except (ValueError, IndexError) as error:
            raise self._server.refusal(f"gave {said[:60]!r} as the time of its event") from error


def notices(provider: Provider, base_url: str = METADATA_SERVER, timeout_seconds: float = 0.5) -> NoticeReader:
    """The reader for a cloud; keep it, for what it has learnt."""
    if provider == "aws":
        return AwsNotices(base_url, timeout_seconds)
    return (GcpNotices if provider == "gcp" else AzureNotices)(base_url, timeout_seconds)


def iso_time(said: str) -> datetime | None:
    """A UTC time such as ``2026-11-20T08:22:00Z``."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", said):
        return None
    try:
        return datetime.fromisoformat(said)
    except ValueError:
        return None


def _names(event: JsonObject) -> set[str]:
    resources = event.get("Resources")
    members = cast("list[object]", resources) if isinstance(resources, list) else []
    return {member.lower() for member in members if isinstance(member, str)}
