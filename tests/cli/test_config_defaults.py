"""A default that changes changes every installation that did not choose: it has to be changed here as well."""

from cli.config import Config

DEFAULTS = {
    "agent": {
        "interval_seconds": 1.0,
        "call_timeout_seconds": 2.0,
        "fsync_seconds": 30.0,
        "journal_days": 14,
        "finished_holder_seconds": 600.0,
        "series_cap": 2000,
        "cpu_budget_ratio": 0.01,
        "method_hold_seconds": 60.0,
        "idle_learning_seconds": 60.0,
        "node_name": "",
        "cluster_name": "",
        "data_dir": "wattledger-data",
    },
    "server": {
        "listen": "127.0.0.1:9477",
        "token_file": None,
        "tls_cert_file": None,
        "tls_key_file": None,
        "request_timeout_seconds": 10.0,
        "max_connections": 32,
    },
    "metrics": {
        "groups": [],
        "histograms": ["time_to_first_token", "time_per_output_token", "end_to_end_latency"],
    },
    "prices": {
        "node": None,
        "instances": [],
        "models": [],
        "on_prem": [],
        "fallback": "market_median",
        "stale_after_days": 120,
        "cloud_identity": "auto",
    },
    "dcgm": {"url": None, "interval_seconds": 15.0, "stale_after_seconds": 45.0},
    "host": {"proc": "/proc", "sys": "/sys"},
    "holders": {"passwd": "/etc/passwd", "system_processes": []},
    "kubernetes": {
        "mode": "auto",
        "node": "",
        "kubelet_socket": "/var/lib/kubelet/pod-resources/kubelet.sock",
        "kubelet_interval_seconds": 10.0,
        "api_url": "",
        "token_file": None,
        "ca_file": None,
        "resources": ["nvidia.com/gpu", "nvidia.com/gpu.shared", "nvidia.com/mig-*"],
        "drivers": ["gpu.nvidia.com"],
        "system_namespaces": ["gpu-operator", "kube-system"],
        "dimensions": [
            {"name": "team", "label_keys": ["wattledger.io/team", "team"], "else_namespace": True},
            {
                "name": "environment",
                "label_keys": ["wattledger.io/environment", "environment", "env"],
                "else_namespace": False,
            },
        ],
    },
    "serving": {
        "enabled": True,
        "interval_seconds": 15.0,
        "timeout_seconds": 2.0,
        "threads": 4,
        "max_targets": 64,
        "max_page_bytes": 4 * 1024 * 1024,
        "max_samples": 20_000,
        "discover_annotations": True,
        "discover_ports": True,
        "tenant_label": "",
        "max_tenants": 50,
        "targets": [],
    },
    "economics": {
        "window_seconds": 300.0,
        "output_token_weight": 4.0,
        "cached_token_weight": 0.1,
        "objectives": [],
    },
}


def test_defaults_are_these():
    assert Config().model_dump(mode="json") == DEFAULTS
