"""An app with one of everything, for the tests of server and page."""

import json

from exporters import catalogue_agent
from exporters.exposition import SeriesCache
from exporters.state import NodeState


def state(**changes) -> NodeState:
    activity = {"duty_cycle": 0.97, "sm": 0.83, "tensor": 0.41, "dram": None, "memory_controller": 0.6}
    account = {
        "account": "active",
        "mig": None,
        "holder_kind": "container",
        "holder": "trainer",
        "method": "exclusive",
        "energy_method": "whole",
        "gpu_seconds": 3723.0,
        "joules": 3.6e6,
        "usd": 2.5,
    }
    device = {
        "uuid": "GPU-5c1a2b3d-1111-2222-3333-444455556666",
        "index": 0,
        "name": "NVIDIA H100 80GB HBM3",
        "healthy": True,
        "health_message": None,
        "age_seconds": 0.4,
        "flags": [],
        "activity": activity,
        "activity_source": "gpm",
        "power_watts": 612.4,
        "power_limit_watts": 700.0,
        "energy_joules": 3.6e6,
        "memory_used_bytes": 40 << 30,
        "memory_total_bytes": 80 << 30,
        "temperature_celsius": 67.0,
        "throttle_reasons": ["sw_power_cap"],
        "usd_per_hour": 6.88,
        "price_source": "bundled",
        "price_age_seconds": 86400.0,
        "price_estimate": True,
        "holders": [{"kind": "container", "name": "trainer", "mig": None, "share_ratio": 1.0, "memory_bytes": 1 << 30}],
        "instances": [],
        "totals": {"gpu_seconds": 3723.0, "joules": 3.6e6, "usd": 2.5},
        "accounts": [account],
    }
    whole = {
        "node": "node-1",
        "version": "0.1.0",
        "source": "nvml",
        "simulated": False,
        "driver_version": "580.95.05",
        "now_utc": "2026-11-22T06:00:00Z",
        "sweep_age_seconds": 0.4,
        "interval_seconds": 1.0,
        "interval_stretched": False,
        "message": None,
        "kubernetes": False,
        "totals": {
            "power_watts": 612.4,
            "usd_per_hour": 6.88,
            "accounts": [{"account": "active", "gpu_seconds": 3723.0, "joules": 3.6e6, "usd": 2.5}],
        },
        "host": None,
        "serving": [],
        "collectors": [{"collector": "gpu", "up": True, "age_seconds": 0.4, "message": None}],
        "devices": [device],
    }
    return whole | changes


class FakeApp:
    """Says what it is told to say, and counts how often it was asked."""

    def __init__(self, *, page=True, series=1, state=state):
        self.page = page
        self.sweep = 1
        self.series = series
        self.asked = 0
        self.probe = (True, "ok")
        self._state = state

    def generation(self):
        return self.sweep

    def metrics(self):
        self.asked += 1
        rows = [((f"collector-{number}",), 1) for number in range(self.series)]
        return [SeriesCache(catalogue_agent.COLLECTOR_UP, "n1").family(rows)]

    def health(self):
        return self.probe

    def ready(self):
        return self.probe

    def hours(self, since):
        if since == "yesterday":
            raise ValueError("since: found yesterday, allowed: 2026-11-22T06")
        return json.dumps({"since": since}).encode()

    def state(self):
        return self._state()
