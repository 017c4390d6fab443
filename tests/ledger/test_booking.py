"""Agents' hours and witnesses become rows that add up, device by device, to the time that the node existed."""

from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.apportion import apportion
from ledger.booking import book, book_units
from ledger.booking_units import Scope, plan
from ledger.hours import ClockStep, LatencyKey, LatencySum, WorkKey
from ledger.tables import NODE_HOURS, PRICES, PROFILE, USAGE, WORK
from tests.ledger.ledger_rig import HOUR_NS, MINUTE_NS, MODEL, NOBODY, NOW, POD, SCOPE, agent_hour, at, row, witnessed

BUSY = row("GPU-1", "active", 20 * MINUTE_NS, 900)
REST = row("GPU-1", "idle", 40 * MINUTE_NS, 100, energy="idle_split")
WHOLE = agent_hour(at(5), BUSY, REST)
FULL_HOUR = witnessed((at(5), "a", 60, {}))


def only(frame):
    assert frame.height == 1
    return frame.row(0, named=True)


def minutes(usage, *by):
    return {tuple(key): ns // MINUTE_NS for *key, ns in usage.group_by(*by).agg(pl.col("gpu_ns").sum()).iter_rows()}


def test_rows_bear_their_place_holder_and_tables_columns():
    booked = book([WHOLE], FULL_HOUR, SCOPE)
    for table, frame in zip(
        (USAGE, PROFILE, WORK, PRICES, NODE_HOURS),
        (booked.usage, booked.profile, booked.work, booked.prices, booked.node_hours),
        strict=True,
    ):
        assert frame.schema == table.schema
    busy = booked.usage.filter(account="active").row(0, named=True)
    expected = {
        "hour_utc": at(5),
        "cluster": "eu",
        "node": "a",
        "region": "eu-west-1",
        "instance_id": "i-1",
        "gpu_uuid": "GPU-1",
        "gpu_model": MODEL,
        "holder": POD,
        "workload": "chat",
        "team": "search",
        "run": "",
        "gpu_ns": 20 * MINUTE_NS,
        "energy_mj": 900,
        "requested_ns": 20 * MINUTE_NS,
        "source": "measured",
        "price_id": "p",
    }
    assert {name: busy[name] for name in expected} == expected


def test_a_closed_hour_is_final_an_open_one_provisional():
    assert only(book([WHOLE], FULL_HOUR, SCOPE).node_hours)["state"] == "final"
    assert only(book([agent_hour(at(5), BUSY, closed=False)], FULL_HOUR, SCOPE).node_hours)["state"] == "provisional"


def test_the_register_says_what_the_hour_rests_on():
    register = only(book([WHOLE], FULL_HOUR, SCOPE).node_hours)
    told = {name: register[name] for name in ("existed_ns", "evidence", "revision", "gpu_count", "booked_at")}
    assert told == {"existed_ns": HOUR_NS, "evidence": "api", "revision": 1, "gpu_count": 1, "booked_at": NOW}


def test_what_the_journal_does_not_cover_is_unobserved_without_energy():
    usage = book([agent_hour(at(5), BUSY)], FULL_HOUR, SCOPE).usage
    rest = only(usage.filter(method="lifetime"))
    assert (rest["account"], rest["gpu_uuid"], rest["gpu_ns"]) == ("unobserved", "GPU-1", 40 * MINUTE_NS)
    assert (rest["energy_mj"], rest["energy_method"], rest["price_id"], rest["holder"]) == (None, "none", "p", "")


def test_where_the_journal_saw_more_it_extends_the_existence():
    booked = book([WHOLE], witnessed((at(5), "a", 50, {})), SCOPE)
    register = only(booked.node_hours)
    assert (register["existed_ns"], register["evidence"]) == (HOUR_NS, "journal")
    assert booked.usage["gpu_ns"].sum() == HOUR_NS


def test_the_longest_device_extends_the_existence_of_all():
    usage = book([agent_hour(at(5), BUSY, REST, row("GPU-2", "idle", MINUTE_NS))], NOBODY, SCOPE).usage
    assert minutes(usage, "gpu_uuid") == {("GPU-1",): 60, ("GPU-2",): 60}
    assert minutes(usage.filter(gpu_uuid="GPU-2"), "account") == {("idle",): 1, ("unobserved",): 59}


def test_devices_that_no_journal_names_are_unobserved_under_node_and_index():
    usage = book([WHOLE], witnessed((at(5), "a", 60, {"gpu_count": 3})), SCOPE).usage
    assert minutes(usage.filter(account="unobserved"), "gpu_uuid") == {("a/gpu-1",): 60, ("a/gpu-2",): 60}
    assert set(usage["gpu_model"]) == {MODEL}


def test_a_node_hour_without_telemetry_is_unobserved_whole():
    booked = book([], witnessed((at(5), "b", 12, {"gpu_count": 2, "gpu_model": "H100"})), SCOPE)
    assert minutes(booked.usage, "account", "gpu_uuid", "gpu_model") == {
        ("unobserved", "b/gpu-0", "H100"): 12,
        ("unobserved", "b/gpu-1", "H100"): 12,
    }
    register = only(booked.node_hours)
    assert (register["state"], register["revision"], register["gpu_count"]) == ("provisional", None, 2)


@pytest.mark.parametrize(("count", "told"), [(None, None), (0, 0)])
def test_how_many_devices_is_not_guessed(count, told):
    booked = book([], witnessed((at(5), "b", 12, {"gpu_count": count})), SCOPE)
    assert booked.usage.is_empty()
    assert only(booked.node_hours)["gpu_count"] == told


def test_a_bare_host_exists_on_or_off_for_the_hour_that_its_clock_made():
    bare = {"provider": "", "instance_id": ""}
    register = only(book([agent_hour(at(5), BUSY, facts=bare)], NOBODY, SCOPE).node_hours)
    assert (register["existed_ns"], register["evidence"]) == (HOUR_NS, "host")
    start = int(at(5).timestamp()) * 10**9
    ahead = [ClockStep(start + 10 * MINUTE_NS, start + 25 * MINUTE_NS)]
    register = only(book([agent_hour(at(5), BUSY, facts=bare, steps=ahead)], NOBODY, SCOPE).node_hours)
    assert (register["existed_ns"], register["evidence"]) == (45 * MINUTE_NS, "host")


def test_of_an_open_hour_only_what_has_passed_exists():
    open_hour = agent_hour(at(12), BUSY, closed=False, facts={"provider": "", "instance_id": ""})
    booked = book([open_hour], NOBODY, Scope(at(12, 30)))
    assert minutes(booked.usage, "account") == {("active",): 20, ("unobserved",): 10}


def test_two_instances_of_one_name_within_an_hour_stay_apart():
    second = agent_hour(at(5), row("GPU-9", "idle", 30 * MINUTE_NS), facts={"instance_id": "i-2"})
    lives = witnessed((at(5), "a", 20, {}), (at(5), "a", 35, {"instance_id": "i-2"}))
    booked = book([agent_hour(at(5), BUSY), second], lives, SCOPE)
    assert minutes(booked.usage, "instance_id") == {("i-1",): 20, ("i-2",): 35}
    assert booked.node_hours["existed_ns"].to_list() == [20 * MINUTE_NS, 35 * MINUTE_NS]


@pytest.mark.parametrize(("agents", "apis"), [("", "i-1"), ("i-1", "")])
def test_one_that_does_not_know_the_instance_is_met_by_the_name(agents, apis):
    booked = book(
        [agent_hour(at(5), BUSY, facts={"instance_id": agents})],
        witnessed((at(5), "a", 60, {"instance_id": apis})),
        SCOPE,
    )
    assert only(booked.node_hours)["instance_id"] == "i-1"


def test_a_device_without_energy_has_none_and_a_row_without_its_share_has_none():
    usage = book([agent_hour(at(5), row("GPU-1", "active", HOUR_NS), energy=False)], NOBODY, SCOPE).usage
    assert only(usage)["energy_mj"] is None
    away = row("GPU-1", "unobserved", MINUTE_NS, holder="", method="interpolated", energy="none")
    usage = book([agent_hour(at(5), BUSY, away)], NOBODY, SCOPE).usage
    assert usage.filter(account="unobserved")["energy_mj"].to_list() == [None]
    assert usage["energy_mj"].sum() == 900


def test_memory_is_split_over_a_holders_rows_by_time():
    profile = [
        {
            "gpu_uuid": "GPU-1",
            "mig": "",
            "holder_kind": "pod",
            "holder": POD,
            "measures": {"memory_mib": [81_559 * HOUR_NS, HOUR_NS, 81_559]},
            "totals": {"pcie_bytes": 7},
        }
    ]
    booked = book([agent_hour(at(5), BUSY, REST, profile=profile)], FULL_HOUR, SCOPE)
    assert booked.usage["memory_mib_s"].to_list() == [81_559 * 1200, 81_559 * 2400]
    told = booked.profile.select("measure", "weighted", "ns", "peak", "total", "team", "gpu_model").rows()
    assert told == [
        ("memory_mib", 81_559 * HOUR_NS, HOUR_NS, 81_559, None, "search", MODEL),
        ("pcie_bytes", None, None, None, 7, "search", MODEL),
    ]


def test_work_and_latencies_stand_once_with_their_holder():
    made = agent_hour(
        at(5),
        BUSY,
        work={WorkKey("pod", POD, "m", "t", "output_tokens"): 9},
        latency={LatencyKey("pod", POD, "m", "queue_time"): LatencySum(3, 30, {20: 2})},
    )
    work = book([made], FULL_HOUR, SCOPE).work
    assert work.select("kind", "tenant", "amount", "sum_ns", "buckets", "team").rows() == [
        ("queue_time", "", 3, 30, "[[20,2]]", "search"),
        ("output_tokens", "t", 9, None, None, "search"),
    ]


def test_each_price_is_told_once():
    prices = book([WHOLE, agent_hour(at(6), BUSY), agent_hour(at(5), BUSY, node="b")], NOBODY, SCOPE).prices
    assert prices.select("price_id", "nano_usd_per_gpu_hour", "source", "capacity_type").rows() == [
        ("p", 2_500_000_000, "config", "on_demand")
    ]


def test_the_highest_revision_wins_and_the_closed_hour_before_the_open_one():
    newer, reopened = agent_hour(at(5), BUSY, revision=2), agent_hour(at(5), REST, revision=3, closed=False)
    for order in ([WHOLE, newer, reopened], [reopened, newer, WHOLE]):
        assert only(book(order, NOBODY, SCOPE).node_hours)["revision"] == 2


def test_the_same_again_has_the_same_digest_and_any_change_another():
    def digest(hours, existed):
        return only(book(hours, existed, SCOPE).node_hours)["digest"]

    assert digest([WHOLE], FULL_HOUR) == digest([WHOLE], FULL_HOUR)
    others = {
        digest([agent_hour(at(5), BUSY)], FULL_HOUR),
        digest([WHOLE], witnessed((at(5), "a", 59, {}))),
        digest([WHOLE], witnessed((at(5), "a", 60, {"zone": "eu-west-1a"}))),
        digest([], FULL_HOUR),
    }
    assert len(others) == 4
    assert digest([WHOLE], FULL_HOUR) not in others


def again(first, existed, *hours):
    """Plan once more over what was booked, and book what stands."""
    units = plan(hours, existed, SCOPE, first.node_hours)
    return book_units(units, NOW, first.usage)


def test_a_node_that_was_seen_for_longer_than_its_journal_came_loses_minutes_not_hours():
    first = book([agent_hour(at(5), BUSY, closed=False)], witnessed((at(5), "a", 20, {"gpu_count": 2})), SCOPE)
    second = again(first, witnessed((at(5), "a", 22, {"gpu_count": 2})))
    assert minutes(second.usage, "gpu_uuid", "account") == {
        ("GPU-1", "active"): 20,
        ("GPU-1", "unobserved"): 2,
        ("a/gpu-1", "unobserved"): 22,
    }
    third = again(second, witnessed((at(5), "a", 20, {"gpu_count": 2})))
    assert third.usage.equals(first.usage)
    assert third.node_hours.equals(first.node_hours)


def test_a_final_hour_is_not_replaced_by_an_older_or_an_open_one():
    first = book([agent_hour(at(5), BUSY, REST, revision=2)], FULL_HOUR, SCOPE)
    for late in (agent_hour(at(5), BUSY, revision=1), agent_hour(at(5), BUSY, revision=2, closed=False)):
        second = again(first, FULL_HOUR, late)
        assert second.usage.equals(first.usage)
        assert second.node_hours.equals(first.node_hours)


def test_a_journal_replaces_an_estimate_and_no_estimate_a_journal():
    estimate = replace(agent_hour(at(5), REST, revision=0), source="prometheus")
    opened = agent_hour(at(5), BUSY, closed=False, revision=0)
    for order in ([estimate, opened], [opened, estimate]):
        assert only(book(order, NOBODY, SCOPE).node_hours)["source"] == "measured"
    measured = again(book([estimate], FULL_HOUR, SCOPE), FULL_HOUR, opened)
    assert set(measured.usage["account"]) == {"active", "unobserved"}
    assert again(measured, FULL_HOUR, estimate).usage.equals(measured.usage)


def test_what_nobody_tells_of_now_is_left_alone():
    first = book([WHOLE], FULL_HOUR, SCOPE)
    assert plan([], NOBODY, SCOPE, first.node_hours) == []


def test_a_silent_bare_hosts_hour_goes_on():
    bare = agent_hour(at(12), BUSY, closed=False, facts={"provider": "", "instance_id": ""})
    first = book([bare], NOBODY, Scope(at(12, 20)))
    units = plan([], NOBODY, Scope(at(12, 45)), first.node_hours)
    assert minutes(book_units(units, at(12, 45), first.usage).usage, "account") == {
        ("active",): 20,
        ("unobserved",): 25,
    }


def test_an_instance_whose_id_is_learnt_later_is_booked_once():
    first = book([agent_hour(at(5), BUSY, closed=False, facts={"instance_id": ""})], NOBODY, SCOPE)
    units = plan([WHOLE], NOBODY, SCOPE, first.node_hours)
    assert [unit.key for unit in units] == [(at(5), "a", "i-1")]


DEVICES = st.lists(
    st.tuples(
        st.integers(0, 2 * HOUR_NS),  # the time that the journal accounts for
        st.integers(0, 10**7) | st.none(),  # energy
        st.lists(st.integers(0, 9), min_size=1, max_size=5),  # weights of its rows
    ),
    max_size=4,
)
NODES = st.lists(
    st.tuples(
        st.booleans(),  # an agent's hour came
        st.booleans(),  # closed
        DEVICES,
        st.none() | st.integers(0, 60),  # minutes by the API
        st.none() | st.integers(0, 6),  # GPUs by the API
        st.booleans(),  # in a cloud
    ),
    max_size=4,
)
ACCOUNTS = ("active", "idle", "unallocated", "unobserved", "system")


def _device_rows(uuid, accounted_ns, energy_mj, weights):
    times, energies = apportion(accounted_ns, weights), apportion(energy_mj or 0, weights)
    return [
        row(
            uuid,
            account,
            ns,
            mj,
            holder="" if account.startswith("un") else POD,
            method="interpolated" if account == "unobserved" else "exclusive",
        )
        for account, ns, mj in zip(ACCOUNTS, times, energies, strict=False)
    ]


def _fleet(nodes):
    hours, lives = [], []
    for index, (came, closed, devices, life, gpus, cloud) in enumerate(nodes):
        node, facts = f"n{index}", {"instance_id": f"i-{index}"} if cloud else {"provider": "", "instance_id": ""}
        if came:
            made = agent_hour(
                at(5), node=node, closed=closed, facts=facts, devices=[f"{node}-G{i}" for i in range(len(devices))]
            )
            for i, (ns, mj, weights) in enumerate(devices):
                uuid = f"{node}-G{i}"
                made.book.rows.update(_device_rows(uuid, ns, mj, weights))
                made.book.devices[uuid].accounted_ns, made.book.devices[uuid].energy_mj = ns, mj
            hours.append(made)
        if life:
            lives.append((at(5), node, life, {"gpu_count": gpus, "instance_id": facts["instance_id"]}))
    return hours, witnessed(*lives)


@settings(max_examples=40)
@given(NODES)
def test_law_each_devices_rows_add_up_to_the_time_its_node_existed_and_to_the_journals_energy(nodes):
    hours, existed = _fleet(nodes)
    booked = book(hours, existed, SCOPE)
    control = booked.node_hours.select("node", "existed_ns", "gpu_count")
    sums = (
        booked.usage.group_by("node", "gpu_uuid")
        .agg(pl.col("gpu_ns").sum(), pl.col("energy_mj").sum())
        .join(control, on="node")
    )
    assert (sums["gpu_ns"] == sums["existed_ns"]).all()
    lives = control.filter(pl.col("existed_ns") > 0)
    counted = sums.filter(pl.col("existed_ns") > 0).group_by("node").len("devices").join(lives, on="node", how="right")
    assert counted["devices"].fill_null(0).to_list() == counted["gpu_count"].fill_null(0).to_list()
    energy = dict(sums.select("gpu_uuid", "energy_mj").iter_rows())
    for hour in hours:
        for uuid, device in hour.book.devices.items():
            assert energy.get(uuid, 0) == (device.energy_mj or 0)


@settings(max_examples=40)
@given(NODES, st.randoms(use_true_random=False))
def test_law_the_order_in_which_things_come_changes_nothing(nodes, chance):
    hours, existed = _fleet(nodes)
    booked = book(hours, existed, SCOPE)
    chance.shuffle(hours)
    other = book(hours, existed.reverse(), SCOPE)
    assert booked.usage.equals(other.usage)
    assert booked.node_hours.equals(other.node_hours)
