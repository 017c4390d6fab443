"""An hour that cannot be true is refused whole, by name, with the reason and the remedy."""

import json
from datetime import UTC, datetime

import pytest

from ledger.agent_hours import RefusedHour, correction_ns, read_hour, stepped_back_ns
from ledger.hours import (
    Amount,
    CellKey,
    ClockStep,
    DeviceHour,
    HolderKey,
    HolderNote,
    HourBook,
    LatencyKey,
    LatencySum,
    NodeNote,
    PriceNote,
    RowKey,
    WorkKey,
    encode,
)

HOUR = 1_793_509_200  # 2026-11-01T05:00:00Z
NOW = datetime(2026, 11, 1, 6, 5, tzinfo=UTC)
HOUR_NS = 3600 * 10**9
POD = "ml/chat-0/server"


def a_book(hour_s=HOUR):
    busy = RowKey(CellKey("GPU-1", "", "pod", POD, "active", "exclusive"), "whole", "p")
    rest = RowKey(CellKey("GPU-1", "", "pod", POD, "idle", "exclusive"), "idle_split", "p")
    return HourBook(
        hour_s,
        rows={busy: Amount(HOUR_NS // 4, 700), rest: Amount(HOUR_NS * 3 // 4, 300)},
        devices={"GPU-1": DeviceHour("NVIDIA H100 80GB HBM3", HOUR_NS, 1000)},
        prices={"p": PriceNote(2_500_000_000, "config", "2026-10-01", "on_demand", estimate=False)},
        work={WorkKey("pod", POD, "m", "", "output_tokens"): 9},
        latency={LatencyKey("pod", POD, "m", "queue_time"): LatencySum(2, 30, {20: 2})},
        holders={HolderKey("pod", POD): HolderNote(team="search")},
        profile=[
            {
                "gpu_uuid": "GPU-1",
                "mig": "",
                "holder_kind": "pod",
                "holder": POD,
                "measures": {"sm_ppm": [5, 10, 1]},
                "totals": {"pcie_bytes": 7},
            }
        ],
        node_facts=NodeNote(node="a", instance_id="i-1", gpu_count=1),
    )


def document(book=None, **facts):
    told = {"node": "a", "source": "nvml", "closed": True, **facts}
    return json.loads(encode(book or a_book(), **told))


def read(data, **how):
    return read_hour(data, **{"node": "a", "now": NOW, "simulated": False, **how})


def test_a_good_hour_is_read_as_it_is():
    hour = read(document())
    assert (hour.node, hour.source, hour.closed, hour.instance_id) == ("a", "measured", True, "i-1")
    assert hour.book == a_book()


def test_the_digest_tells_a_change_and_nothing_else():
    data = document()
    assert read(data).digest == read(dict(reversed(data.items()))).digest
    assert read(data).digest != read(document(closed=False)).digest


def changed(path, value):
    data = document()
    at = data
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return data


FAULTS = {
    "another node": (["node"], "b", "says that it is node 'b'; give each agent its own name"),
    "another format": (["format"], 9, "this version reads format 1"),
    "no rows": (["usage"], None, "run agent and controller of one version"),
    "the future": (
        ["hour_utc"],
        "2026-11-01T07:00:00Z",
        "begins after now .2026-11-01T06:05:00Z.; set the node's clock",
    ),
    "closed before its end": (["hour_utc"], "2026-11-01T06:00:00Z", "it is closed and ends after now"),
    "long ago": (["hour_utc"], "0001-01-01T00:00:00Z", "begins before 2020; set the node's clock"),
    "devices in a list": (["devices"], [], "no attribute 'items'"),
    "prices in a list": (["prices"], [], "run agent and controller of one version"),
    "a count in words": (["node_facts", "gpu_count"], "8", "gpu_count '8', which is no count up to 1024"),
    "a count past belief": (["node_facts", "vcpus"], 10**12, "vcpus 1000000000000, which is no count"),
    "an amount without end": (["usage", 0, 8], float("inf"), "run agent and controller of one version"),
    "a request in words": (["holders", 0, -2], "two", "an amount that is no whole number"),
    "simulated": (["source"], "simulated", "it is simulated, the ledger is measured"),
    "no source": (["source"], None, "does not say its source"),
    "no closed": (["closed"], "yes", "or whether it is closed"),
    "revision": (["revision"], -1, "revision -1"),
    "account": (["usage", 0, 4], "lunch", "account 'lunch' is not known; run a controller at least as new"),
    "negative": (["usage", 0, 8], -1, "GPU-1 has a negative amount under active: -1 ns"),
    "time": (["usage", 0, 8], 1, "rows of device GPU-1 add up to 2700000000001 ns, its clock to 3600000000000 ns"),
    "energy": (["devices", "GPU-1", "energy_mj"], None, "add up to 1000 mJ, its counter to None mJ"),
    "unknown device": (["devices"], {}, "device GPU-1 has rows but no control figures"),
    "untold price": (["prices"], {}, "price 'p' is used but not told"),
    "price of zero": (["prices", "p", "nano_usd_per_gpu_hour"], 0, "a price is above 0"),
    "price without date": (["prices", "p", "as_of"], "soon", "which is no date"),
    "negative work": (["work", 0, 5], -1, "work 'output_tokens' of 'ml/chat-0/server' is -1"),
    "negative latency": (["latency", 0, 4], -1, "latency 'queue_time' of .* negative count"),
    "negative profile": (
        ["profile", 0, "measures", "sm_ppm", 1],
        -1,
        "profile of 'ml/chat-0/server' covers a negative",
    ),
    "a profile of words": (["profile", 0], "words", "is not whole"),
    "a number for a name": (["usage", 0, 3], 7, "usage has something else where a text belongs"),
    "a note of numbers": (["holders", 0, 3], 7, "holders has something else where a text belongs"),
    "past all bounds": (["usage", 0, 9], 2**63, "past 2.62"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_refuses(fault):
    path, value, why = FAULTS[fault]
    with pytest.raises(RefusedHour, match=rf"hour .* of node 'a': .*{why}"):
        read(changed(path, value))


def test_refuses_a_measured_hour_in_a_simulated_ledger():
    with pytest.raises(RefusedHour, match="it is measured, the ledger is simulated"):
        read(document(), simulated=True)


def test_refuses_more_time_than_hour_and_clock_steps_explain():
    book = a_book()
    next(iter(book.rows.values())).gpu_ns += 2 * HOUR_NS
    book.devices["GPU-1"].accounted_ns += 2 * HOUR_NS
    with pytest.raises(RefusedHour, match="more than the hour and the steps of its clock explain"):
        read(document(book))
    end = (HOUR + 3600) * 10**9
    book.steps = [ClockStep(end, end - HOUR_NS)]
    assert read(document(book)).book.steps == book.steps


def test_a_step_adds_to_hours_gone_through_again_and_takes_from_those_skipped():
    begin = HOUR * 10**9
    back, ahead = ClockStep(begin + 900, begin + 300), ClockStep(begin - 5, begin + 2 * HOUR_NS)
    assert correction_ns([back], HOUR) == 600
    assert [correction_ns([ahead], HOUR + 3600 * n) for n in (-1, 0, 1, 2)] == [-5, -HOUR_NS, -HOUR_NS, 0]
    assert stepped_back_ns(HourBook(HOUR, steps=[back, ahead])) == 600
