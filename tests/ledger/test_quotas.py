from datetime import UTC, datetime, timedelta

import polars as pl

from collectors.kube_quotas import GpuQuota
from ledger.quotas import TeamQuota, quota_use, team_quotas
from ledger.tables import USAGE, conform

SINCE = datetime(2026, 11, 1, tzinfo=UTC)
UNTIL = SINCE + timedelta(hours=10)
HOUR = 3_600_000_000_000


def row(namespace, account="active", hours=1, team="nlp", hour=SINCE, **more):
    known = {"namespace": namespace, "account": account, "gpu_ns": hours * HOUR, "team": team, "hour_utc": hour}
    return known | {"cluster": "prod"} | more


def usage(*rows):
    texts = {name: "" for name, dtype in USAGE.schema.items() if dtype == pl.String}
    return conform(USAGE, pl.LazyFrame([texts | each for each in rows], schema_overrides=USAGE.schema))


def quota(*namespaces, granted=8, used=5, kind="ResourceQuota", name="gpus", resource="nvidia.com/gpu", **more):
    return GpuQuota(kind, name, namespaces, resource, granted, used, **more)


def use(quotas, *rows):
    booked = (row("", "unobserved", hour=SINCE + timedelta(hours=place)) for place in range(10))
    return quota_use(quotas, usage(*booked, *rows), "prod", SINCE, UNTIL)


def test_an_hour_without_books_gives_no_room():
    rows = [row("nlp", hours=8, hour=SINCE + timedelta(hours=144 + place)) for place in range(24)]
    (found,) = quota_use([quota("nlp")], usage(*rows), "prod", SINCE, SINCE + timedelta(days=7))
    assert (found.granted_ns, found.held_ratio, found.active_ratio) == (8 * 24 * HOUR, 1, 1)
    (none,) = quota_use([quota("nlp")], usage(*rows), "prod", SINCE, SINCE + timedelta(days=1))
    assert (none.granted_ns, none.held_ratio) == (0, None)


def test_of_the_open_hour_the_part_that_has_passed_gives_room():
    rows = [row("nlp", hours=8), row("nlp", hours=4, hour=SINCE + timedelta(hours=1))]
    (found,) = quota_use([quota("nlp")], usage(*rows), "prod", SINCE, SINCE + timedelta(minutes=90))
    assert (found.granted_ns, found.held_ratio) == (12 * HOUR, 1)


def test_what_was_held_and_worked_stands_against_the_room_that_was_granted():
    rows = [row("nlp", hours=20), row("nlp", "idle", 12), row("nlp", "unmeasured", 8), row("nlp", "unallocated", 99)]
    (found,) = use([quota("nlp")], *rows)
    assert (found.granted_ns, found.held_ns, found.active_ns) == (80 * HOUR, 40 * HOUR, 20 * HOUR)
    assert (found.held_ratio, found.active_ratio, found.used_now, found.teams) == (0.5, 0.25, 5, ("nlp",))


def test_other_namespaces_clusters_hours_and_mig_instances_are_not_counted():
    rows = [
        row("vision"),
        row("nlp", cluster="test"),
        row("nlp", hour=UNTIL),
        row("nlp", hour=SINCE - timedelta(hours=1)),
        row("nlp", mig="MIG-1"),
    ]
    (found,) = use([quota("nlp")], *rows)
    assert (found.held_ns, found.active_ns, found.teams) == (0, 0, ())


def test_a_queue_counts_all_namespaces_that_lead_to_it():
    rows = [row("nlp", hours=3), row("vision", hours=4, team="vision")]
    (found,) = use([quota("nlp", "vision", kind="ClusterQueue", granted=16)], *rows)
    assert (found.held_ns, found.granted_ns, found.teams) == (7 * HOUR, 160 * HOUR, ("nlp", "vision"))


def test_mig_instances_and_replicas_are_not_compared_with_whole_gpus():
    for resource in ("nvidia.com/mig-1g.10gb", "nvidia.com/gpu.shared"):
        (found,) = use([quota("nlp", resource=resource)], row("nlp"))
        assert (found.granted, found.used_now) == (8, 5)
        assert (found.granted_ns, found.held_ns, found.active_ns, found.held_ratio) == (None, None, None, None)


def test_a_grant_of_nothing_has_no_ratio():
    (found,) = use([quota("nlp", granted=0)], row("nlp"))
    assert (found.held_ratio, found.active_ratio) == (None, None)


def test_a_team_has_the_sum_of_the_namespaces_that_are_its_own():
    rows = [row("nlp", hours=3), row("nlp-dev", "idle", 4), row("both"), row("both", team="vision")]
    found = team_quotas(use([quota("nlp"), quota("nlp-dev", granted=2, used=1), quota("both")], *rows))
    assert found == (TeamQuota("nlp", ("nlp", "nlp-dev"), 10, 6, 100 * HOUR, 7 * HOUR, 3 * HOUR),)


def test_of_several_quotas_on_a_namespace_the_smallest_binds_and_scoped_ones_are_left_out():
    quotas = [
        quota("nlp", granted=8),
        quota("nlp", granted=4, name="tight", used=None),
        quota("nlp", granted=1, name="batch", scoped=True),
        quota("nlp", granted=2, name="queue", kind="ClusterQueue"),
        quota("nlp", granted=1, name="mig", resource="nvidia.com/mig-1g.10gb"),
    ]
    (found,) = team_quotas(use(quotas, row("nlp")))
    assert (found.granted, found.used_now, found.granted_ns) == (4, None, 40 * HOUR)


def test_sums_pass_64_bits_without_a_word():
    rows = [row("nlp", hours=2_000_000, gpu_uuid=f"GPU-{place}") for place in range(4)]
    (found,) = use([quota("nlp")], *rows)
    assert found.held_ns == 8_000_000 * HOUR > 2**63
