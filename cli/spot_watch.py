"""The wiring of spot notices: the cloud's metadata server is asked every few seconds."""

import threading

from agent.daemon import NodeAgent
from agent.poller import Poller
from collectors.cloud_metadata import Provider
from collectors.errors import Unsupported
from collectors.spot_notice import notices

_EVERY_SECONDS = 5.0


def watch_notices(agent: NodeAgent, provider: Provider, stop: threading.Event) -> None:
    """Keep the agent's notice up to date until ``stop`` is set."""
    reader = notices(provider)

    def read() -> None:
        try:
            notice = reader.read()
        except Unsupported:
            notice = None
        if notice is None:
            agent.tell_notice("", "", None)
        else:
            time_seconds = notice.time_utc.timestamp() if notice.time_utc else None
            agent.tell_notice(notice.kind, notice.action, time_seconds)

    Poller("spot_notice", read, _EVERY_SECONDS, agent.parts.clock, agent.collectors).start(stop)
