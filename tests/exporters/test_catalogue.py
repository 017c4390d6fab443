import re
from dataclasses import replace

import pytest

from exporters import catalogue, catalogue_books
from exporters.metric import HOST_HOLDER_LABELS, KUBERNETES_HOLDER_LABELS, SUFFIXES, Metric
from exporters.metric_docs import render_markdown

BY_NAME = pytest.mark.parametrize("metric", catalogue.ALL, ids=lambda metric: metric.name)
CONTRACT = {
    "wattledger_gpu_info": ("gpu_uuid", "gpu", "model", "driver", "source"),
    "wattledger_gpu_utilization_ratio": ("gpu_uuid", "mig", "source"),
    "wattledger_gpu_sm_activity_ratio": ("gpu_uuid", "mig", "source"),
    "wattledger_gpu_tensor_activity_ratio": ("gpu_uuid", "mig", "source"),
    "wattledger_gpu_dram_activity_ratio": ("gpu_uuid", "mig", "source"),
    "wattledger_gpu_memory_used_bytes": ("gpu_uuid", "mig"),
    "wattledger_gpu_memory_total_bytes": ("gpu_uuid", "mig"),
    "wattledger_gpu_power_watts": ("gpu_uuid", "scope"),
    "wattledger_gpu_temperature_celsius": ("gpu_uuid",),
    "wattledger_gpu_accounted_seconds_total": ("gpu_uuid",),
    "wattledger_gpu_energy_joules_total": ("gpu_uuid",),
    "wattledger_gpu_list_cost_usd_total": ("gpu_uuid",),
    "wattledger_gpu_xid_errors_total": ("gpu_uuid", "xid"),
    "wattledger_account_gpu_seconds_total": ("gpu_uuid", "mig", "account", "method", "holder_kind", "holder"),
    "wattledger_account_energy_joules_total": ("gpu_uuid", "mig", "account", "holder_kind", "holder"),
    "wattledger_account_list_cost_usd_total": ("gpu_uuid", "mig", "account", "holder_kind", "holder"),
    "wattledger_price_usd_per_hour": ("gpu_uuid", "price_source", "capacity_type"),
    "wattledger_price_age_seconds": ("gpu_uuid",),
    "wattledger_utilization_gap_ratio": ("holder_kind", "holder"),
    "wattledger_series_folded_holders": ("family",),
    "wattledger_collector_up": ("collector",),
    "wattledger_collector_duration_seconds": ("collector",),
    "wattledger_collector_age_seconds": ("collector",),
    "wattledger_gpu_up": ("gpu_uuid",),
    "wattledger_gpu_implausible": ("gpu_uuid", "check"),
    "wattledger_utilization_gap_usd_total": ("holder_kind", "holder"),
    "wattledger_work_total": ("kind", "model", "holder_kind", "holder"),
    "wattledger_tenant_work_total": ("tenant", "kind", "model", "holder_kind", "holder"),
    "wattledger_tenant_list_cost_usd_total": ("tenant", "holder_kind", "holder"),
    "wattledger_time_to_first_token_seconds": ("model", "holder_kind", "holder"),
    "wattledger_time_per_output_token_seconds": ("model", "holder_kind", "holder"),
    "wattledger_end_to_end_latency_seconds": ("model", "holder_kind", "holder"),
    "wattledger_cost_per_request_usd": ("model", "holder_kind", "holder"),
    "wattledger_cost_per_million_input_tokens_usd": ("model", "holder_kind", "holder"),
    "wattledger_cost_per_million_output_tokens_usd": ("model", "holder_kind", "holder"),
    "wattledger_joules_per_request": ("model", "holder_kind", "holder"),
    "wattledger_joules_per_output_token": ("model", "holder_kind", "holder"),
    "wattledger_joules_per_total_token": ("model", "holder_kind", "holder"),
    "wattledger_work_per_joule": ("kind", "model", "holder_kind", "holder"),
    "wattledger_ledger_cost_usd": ("basis", "window", "team", "workload"),
}


def test_the_published_names_and_labels_stand():
    declared = {
        metric.name: tuple(name for name in metric.label_names(HOST_HOLDER_LABELS) if name != "node")
        for metric in catalogue.ALL
    }
    assert {name: declared.get(name) for name in CONTRACT} == CONTRACT


def test_only_the_fleets_own_metrics_bear_no_node():
    without = {metric.name for metric in catalogue.ALL if "node" not in metric.label_names(HOST_HOLDER_LABELS)}
    assert without == {metric.name for metric in catalogue.catalogue_controller.ALL}


def test_names_are_unique_in_both_formats():
    assert len({metric.name for metric in catalogue.ALL}) == len(catalogue.ALL)
    assert len({metric.family_name for metric in catalogue.ALL}) == len(catalogue.ALL)


def test_every_constant_of_a_topic_is_served():
    topics = (
        catalogue.catalogue_agent,
        catalogue.catalogue_books,
        catalogue.catalogue_controller,
        catalogue.catalogue_gpu,
        catalogue.catalogue_work,
    )
    for module in topics:
        declared = {value.name for value in vars(module).values() if isinstance(value, Metric)}
        assert declared == {metric.name for metric in module.ALL}


@BY_NAME
def test_a_name_keeps_the_conventions(metric):
    assert re.fullmatch(r"wattledger_[a-z][a-z0-9_]*", metric.name)
    assert metric.name.endswith(SUFFIXES[metric.kind])
    assert metric.kind == "counter" or not metric.name.endswith("_total")
    assert metric.family_name.endswith(f"_{metric.unit}" if metric.unit else "")


@BY_NAME
def test_a_name_without_a_unit_hides_none(metric):
    last = metric.family_name.rsplit("_", 1)[-1]
    assert metric.unit or last not in {
        "seconds", "joules", "bytes", "watts", "celsius", "hertz", "ratio", "usd", "hour", "second",
    }  # fmt: skip


@BY_NAME
@pytest.mark.parametrize("holder_labels", [HOST_HOLDER_LABELS, KUBERNETES_HOLDER_LABELS])
def test_labels_begin_with_node_and_name_no_process(metric, holder_labels):
    labels = metric.label_names(holder_labels)
    assert metric.of_fleet or labels[0] == "node"
    assert len(set(labels)) == len(labels)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", label) for label in labels)
    assert "pid" not in labels


@BY_NAME
def test_a_help_is_one_line_and_a_sentence(metric):
    assert re.fullmatch(r"[A-Z1][^\n]{10,110}\.", metric.help), metric.help
    assert re.fullmatch(r"\d+\.\d+\.\d+", metric.since)


def test_holder_labels_follow_the_installation():
    metric = catalogue_books.ACCOUNT_ENERGY
    assert metric.label_names(KUBERNETES_HOLDER_LABELS)[-3:] == ("namespace", "pod", "container")
    assert metric.label_names(HOST_HOLDER_LABELS)[-2:] == ("holder_kind", "holder")


def test_a_declaration_cannot_be_changed():
    with pytest.raises(AttributeError):
        catalogue.ALL[0].name = "other"
    assert replace(catalogue.ALL[0], since="9.9.9") != catalogue.ALL[0]


def test_the_committed_reference_is_what_the_catalogue_says(request):
    committed = request.config.rootpath / "docs" / "metrics.md"
    assert committed.read_text(encoding="utf-8") == render_markdown(), "run `make generate`"


@BY_NAME
def test_every_metric_has_its_row_in_the_reference(metric):
    assert f"| `{metric.name}` | {metric.kind} |" in render_markdown()
