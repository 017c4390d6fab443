"""Debian's Prometheus as a process, and the scrape jobs that the Prometheus operator makes of our monitors."""

import json
import socket
import subprocess
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.integration.agent_process import eventually, fetch

SCRAPE_SECONDS = 1.0
OUR_RELABELING: Sequence[Mapping[str, Any]] = (
    {"action": "labeldrop", "regex": "pod|namespace|container|endpoint"},
    {"source_labels": ["__meta_kubernetes_pod_node_name"], "target_label": "instance"},
)
"""What our monitors add to what the operator does: no label of the target stands in for a holder's."""


@dataclass(frozen=True)
class AgentPod:
    """The pod of an agent, as Kubernetes service discovery tells of it."""

    name: str
    node: str
    url: str

    def discovered(self) -> dict[str, Any]:
        """The target with the labels by which it is found."""
        meta = {
            "namespace": "monitoring",
            "pod_name": self.name,
            "pod_node_name": self.node,
            "pod_container_name": "agent",
            "pod_container_port_name": "metrics",
            "pod_phase": "Running",
            "pod_label_app": "wattledger",
            "pod_labelpresent_app": "true",
            "service_name": "wattledger-agent",
            "service_label_app": "wattledger",
            "service_labelpresent_app": "true",
            "endpoint_port_name": "metrics",
            "endpoint_address_target_kind": "Pod",
            "endpoint_address_target_name": self.name,
        }
        labels = {f"__meta_kubernetes_{key}": value for key, value in meta.items()}
        return {"targets": [self.url.removeprefix("http://")], "labels": labels}


def write_targets(file: Path, pods: Sequence[AgentPod]) -> None:
    """Say which pods there are; whoever reads the file sees the old ones or the new ones."""
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps([pod.discovered() for pod in pods]))
    fresh.replace(file.with_suffix(".json"))


def pod_monitor(file: Path, added: Sequence[Mapping[str, Any]] = OUR_RELABELING) -> dict[str, Any]:
    """The job that the operator writes for a PodMonitor of ours with ``honorLabels: true``."""
    selected = [
        {"source_labels": ["__meta_kubernetes_pod_phase"], "regex": "(Failed|Succeeded)", "action": "drop"},
        _selected("pod_label_app"),
        {"source_labels": ["__meta_kubernetes_pod_container_port_name"], "regex": "metrics", "action": "keep"},
    ]
    named = [
        _copied("namespace", "namespace"),
        _copied("pod_container_name", "container"),
        _copied("pod_name", "pod"),
        {"target_label": "job", "replacement": "monitoring/wattledger-agent"},
    ]
    return _job("podMonitor/monitoring/wattledger-agent/0", file, [*selected, *named], added)


def service_monitor(file: Path, added: Sequence[Mapping[str, Any]] = OUR_RELABELING) -> dict[str, Any]:
    """The job that the operator writes for a ServiceMonitor of ours with ``honorLabels: true``."""
    selected = [
        _selected("service_label_app"),
        {"source_labels": ["__meta_kubernetes_endpoint_port_name"], "regex": "metrics", "action": "keep"},
    ]
    kind = ["__meta_kubernetes_endpoint_address_target_kind", "__meta_kubernetes_endpoint_address_target_name"]
    named = [
        {"source_labels": kind, "separator": ";", "regex": "Node;(.*)", "target_label": "node", "replacement": "$1"},
        {"source_labels": kind, "separator": ";", "regex": "Pod;(.*)", "target_label": "pod", "replacement": "$1"},
        _copied("namespace", "namespace"),
        _copied("service_name", "service"),
        _copied("pod_name", "pod"),
        _copied("pod_container_name", "container"),
        _copied("service_name", "job"),
    ]
    return _job("serviceMonitor/monitoring/wattledger-agent/0", file, [*selected, *named], added)


def _selected(label: str) -> dict[str, Any]:
    present = label.replace("_label_", "_labelpresent_")
    sources = [f"__meta_kubernetes_{label}", f"__meta_kubernetes_{present}"]
    return {"source_labels": sources, "regex": "(wattledger);true", "action": "keep"}


def _copied(source: str, target: str) -> dict[str, Any]:
    return {"source_labels": [f"__meta_kubernetes_{source}"], "target_label": target}


def _job(
    name: str, file: Path, rules: Sequence[Mapping[str, Any]], added: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    sharded: list[dict[str, Any]] = [
        {"source_labels": ["__address__"], "target_label": "__tmp_hash", "modulus": 1, "action": "hashmod"},
        {"source_labels": ["__tmp_hash"], "regex": "0", "action": "keep"},
    ]
    first = [{"source_labels": ["job"], "target_label": "__tmp_prometheus_job_name"}]
    endpoint = [{"target_label": "endpoint", "replacement": "metrics"}]
    return {
        "job_name": name,
        "honor_labels": True,
        "honor_timestamps": True,
        "file_sd_configs": [{"files": [str(file.with_suffix(".json"))]}],
        "relabel_configs": [*first, *rules, *endpoint, *added, *sharded],
    }


def plain_job(url: str) -> dict[str, Any]:
    """The job of one agent that is no pod."""
    targets = [{"targets": [url.removeprefix("http://")]}]
    return {"job_name": "wattledger", "honor_labels": True, "static_configs": targets}


class Prometheus:
    """Scrapes each second, from the ``with`` block's begin to its end."""

    def __init__(
        self,
        folder: Path,
        program: str,
        jobs: Sequence[Mapping[str, Any]],
        rules: str = "",
        *,
        options: Sequence[str] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        every = f"{SCRAPE_SECONDS:g}s"
        timing = {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every}
        (folder / "rules.yml").write_text(rules or "groups: []\n")
        config = {"global": timing, "rule_files": [str(folder / "rules.yml")], "scrape_configs": [*jobs]}
        (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = f"127.0.0.1:{free.getsockname()[1]}"
        self.api = f"http://{address}/api/v1"
        own = [f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address={address}", "--log.level=warn"]
        self._log = (folder / "prometheus.log").open("wb")
        command = [program, f"--config.file={folder / 'prometheus.yml'}", *own, *options]
        self._process = subprocess.Popen[bytes](command, stderr=self._log)

    def __enter__(self) -> Self:
        eventually("Prometheus answers", self._answers, seconds=60, every=0.2)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._log.close()

    def _answers(self) -> bool:
        try:
            return bool(self.get("query", query="vector(1)"))
        except OSError:
            return False

    def get(self, path: str, **parameters: Any) -> Any:
        """The ``data`` of an answer."""
        answer = json.loads(fetch(f"{self.api}/{path}?{urllib.parse.urlencode(parameters)}"))
        assert answer["status"] == "success"
        return answer["data"]

    def ask(self, query: str, at: Decimal | None = None) -> list[dict[str, Any]]:
        """The series of an instant query: ``metric`` and ``value``."""
        moment = {} if at is None else {"time": str(at)}
        found: list[dict[str, Any]] = self.get("query", query=query, **moment)["result"]
        return found

    def value(self, query: str, at: Decimal | None = None) -> float:
        """The one value of an instant query."""
        (one,) = self.ask(query, at)
        return float(one["value"][1])

    def raw(self, selector: str, window: str = "1m", at: Decimal | None = None) -> dict[Decimal, Decimal]:
        """What was scraped of the one series, by Prometheus' own time stamp."""
        (series,) = self.ask(f"{selector}[{window}]", at)
        return {Decimal(str(at)): Decimal(value) for at, value in series["values"]}
