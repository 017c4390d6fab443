"""What `wattledger schedule preview` costs on the scaler benchmark's objects, in a process of its own."""

import json
import os
import subprocess
import time
from pathlib import Path

import yaml

from benchmarks.agent_table import Table
from benchmarks.scaler_run import busy_policy, settings
from benchmarks.scaler_world import EDGE, Fleet
from tests.cluster.audited import AuditedServer
from tests.integration.agent_process import WATTLEDGER

_NIGHTLY = {"name": "edge", "namespaces": [f"{EDGE}-*"], "gpu_only": False, "down": "Mon-Fri 20:00-07:00"}


def preview(table: Table, server: AuditedServer, fleet: Fleet, folder: Path) -> None:
    """The next week of all workloads, from the command to its last line."""
    config = folder / "preview.yaml"
    config.write_text(yaml.safe_dump(settings(server, [_NIGHTLY, busy_policy()])), encoding="utf-8")
    command = [*WATTLEDGER, "schedule", "preview", "--config", str(config), "--output", "json"]
    before, began = len(server.calls()), time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        said = process.stdout.read() if process.stdout is not None else b""
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    calls = server.calls()[before:]
    table.section(f"A preview of the next week of {fleet.workloads:,} workloads")
    seen = len(json.loads(said)["workloads"]) if process.returncode == 0 else 0
    if seen != fleet.workloads:
        table.missed.append(f"preview: {seen:,} workloads seen, exit status {process.returncode}")
    table.row("writes", sum(call.writes for call in calls), "writes", most=0)
    table.row("requests", len(calls), "requests")
    table.row("by the clock", seconds, "s")
    table.row("CPU time", used.ru_utime + used.ru_stime, "s")
    table.row("peak memory", used.ru_maxrss / 1024, "MiB")
