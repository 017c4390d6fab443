"""nvitop-exporter in a process of its own: for each line on standard input one collection, answered by its CPU time.

Run by the benchmark, with the fake driver in its environment. It does what `nvitop-exporter` does each interval, less
the waiting.
"""

import sys
import time
from importlib import import_module
from typing import Any

from prometheus_client import CollectorRegistry

Device: Any = import_module("nvitop").Device
PrometheusExporter: Any = import_module("nvitop_exporter.exporter").PrometheusExporter


def main() -> None:
    devices = Device.all()
    exporter = PrometheusExporter(devices, hostname="benchmark", registry=CollectorRegistry())
    for _ in sys.stdin:
        began = time.process_time_ns()
        exporter.update_host()
        for device in devices:
            exporter.update_device(device)
        print(time.process_time_ns() - began, flush=True)


if __name__ == "__main__":
    main()
