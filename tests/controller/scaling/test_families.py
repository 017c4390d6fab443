"""What a scrape tells of schedules."""

from datetime import UTC, datetime, timedelta

from controller.scaling.families import OTHER, ScalingFamilies, capped
from controller.scaling.savings import Saved
from controller.scaling.stand import ScalingStand
from exporters import catalogue_controller as catalogue
from exporters.exposition import render

NOW = datetime(2026, 11, 3, 7, tzinfo=UTC)
FULL = ScalingStand(
    now=NOW,
    looked_at=NOW - timedelta(seconds=5),
    down={("ml", "Deployment"): 3, ("dev", "Job"): 1},
    gpus_down={("ml",): 12},
    coming_back=2,
    contested={("ml",): 1},
    skipped={("activity",): 4, ("unclear",): 1},
    waiting=7,
    dry_run={"nights": False, "weekends": True},
    breaker_open=True,
    overdue={("no capacity",): 1},
    longest_overdue_seconds=90.5,
    ready_delay_seconds={"nights": -12.5},
    writes={("down", "done"): 9, ("restore", "conflict"): 1},
    saved={"7d": Saved(5_000_000_001, 4, 2_500_000_001, 1_250_000_000, 0, 3, 1_500_000_000, 250_000_000)},
    audit_waiting=1,
    audit_lost=2,
    events_lost=3,
)


def page(stand):
    return render(ScalingFamilies().metrics(stand), openmetrics=False).decode()


def values(stand):
    return {line.rsplit(" ", 1)[0]: line.rsplit(" ", 1)[1] for line in page(stand).splitlines() if line[0] != "#"}


def test_every_figure_has_its_series():
    assert values(FULL) == {
        'wattledger_schedule_workloads_down{namespace="dev",kind="Job"}': "1",
        'wattledger_schedule_workloads_down{namespace="ml",kind="Deployment"}': "3",
        'wattledger_schedule_gpus_down{namespace="ml"}': "12",
        "wattledger_schedule_workloads_coming_back": "2",
        'wattledger_schedule_workloads_contested{namespace="ml"}': "1",
        'wattledger_schedule_workloads_skipped{reason="activity"}': "4",
        'wattledger_schedule_workloads_skipped{reason="unclear"}': "1",
        "wattledger_schedule_workloads_waiting": "7",
        'wattledger_schedule_dry_run{policy="nights"}': "0",
        'wattledger_schedule_dry_run{policy="weekends"}': "1",
        "wattledger_schedule_policies_up": "1",
        "wattledger_schedule_breaker_open": "1",
        "wattledger_schedule_look_age_seconds": "5.0",
        'wattledger_schedule_restores_overdue{reason="no capacity"}': "1",
        "wattledger_schedule_restore_overdue_seconds": "90.5",
        'wattledger_schedule_ready_delay_seconds{policy="nights"}': "-12.5",
        'wattledger_schedule_writes_total{action="down",result="done"}': "9",
        'wattledger_schedule_writes_total{action="restore",result="conflict"}': "1",
        'wattledger_schedule_freed_gpu_seconds{window="7d"}': "5.000000001",
        'wattledger_schedule_freed_usd{window="7d",basis="effective"}': "1.000000001",
        'wattledger_schedule_freed_usd{window="7d",basis="list"}': "1.500000000",
        'wattledger_schedule_saved_usd{window="7d",basis="effective"}': "1.000000000",
        'wattledger_schedule_saved_usd{window="7d",basis="list"}': "0.250000000",
        'wattledger_schedule_downs_unmeasured{window="7d"}': "3",
        "wattledger_schedule_audit_rows_waiting": "1",
        "wattledger_schedule_audit_rows_lost_total": "2",
        "wattledger_schedule_events_lost_total": "3",
    }


def test_every_metric_of_schedules_is_shown():
    declared = {metric.name for metric in catalogue.ALL if metric.name.startswith("wattledger_schedule_")}
    assert {name.partition("{")[0] for name in values(FULL)} == declared


def test_nothing_is_told_before_the_cluster_was_looked_at():
    assert ScalingFamilies().metrics(ScalingStand(now=NOW)) == []


def test_a_saving_that_was_not_measured_is_absent_and_not_zero():
    shown = values(ScalingStand(now=NOW, looked_at=NOW, policies_refused=True))
    assert not any("usd" in name or "freed" in name or "overdue" in name for name in shown)
    assert shown["wattledger_schedule_policies_up"] == "0"


def test_namespaces_beyond_the_cap_are_one_and_the_sum_holds():
    counts = {(f"n{number}", "Deployment"): number for number in range(1, 6)}
    assert capped(counts, 5) is counts
    assert capped(counts, 2) == {("n5", "Deployment"): 5, ("n4", "Deployment"): 4, (OTHER, "Deployment"): 6}
