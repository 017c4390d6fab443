"""`wattledger ledger import` against a real Prometheus that only dcgm-exporter and kube-state-metrics wrote into."""

import json
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from click.testing import CliRunner

from cli.controller_seat import LOCK
from cli.ledger_import import import_
from collectors.errors import Misconfigured, Unavailable
from collectors.prometheus_api import QueryRefused
from controller.lease import LockFile
from ledger.prometheus_import import fleet_hour
from ledger.store import Store
from ledger.tables import COST, NODE_HOURS, USAGE
from ledger.verify import verify
from tests.integration.exporter_history import openmetrics
from tests.integration.kept_samples import address, gate, prometheus_with

pytestmark = [pytest.mark.tool("prometheus"), pytest.mark.tool("promtool")]
FIRST = datetime(2026, 11, 1, tzinfo=UTC)
RANGE = ("--since", "2026-11-01", "--until", "2026-11-01T02:00", "--cluster", "prod")


@pytest.fixture(scope="module")
def prometheus(require_tool, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prometheus")
    with prometheus_with(openmetrics(), folder, require_tool("promtool"), require_tool("prometheus")) as url:
        yield url


@pytest.fixture
def run(tmp_path, prometheus):
    config = tmp_path / "wattledger.yaml"
    own = [{"model": "H100-80GB", "usd_per_gpu_hour": "2.50", "as_of": "2026-10-01"}]
    config.write_text(json.dumps({"prices": {"models": own}}))

    def invoke(*options, url=prometheus):
        given = ["--prometheus", url, "--data-dir", str(tmp_path), "--config", str(config), *RANGE, *options]
        done = CliRunner().invoke(import_, given)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.output

    return invoke


def books(tmp_path):
    return Store(str(tmp_path / "ledger"))


def test_a_fleet_gets_books_marked_as_estimates_and_priced_by_the_configuration(run, tmp_path):
    said = run()
    assert said.startswith("2 hours imported, 0 known before, 0 without a sample")
    assert "These are estimates" in said
    assert "nodes        3\nGPUs         3\n" in said
    usage = books(tmp_path).scan(USAGE).collect()
    assert usage["source"].unique().to_list() == ["prometheus"]
    assert set(usage.filter(holder="ml/web-5d4f8-x1/main")["team"]) == {"red"}
    assert set(usage.filter(node="node-1")["cluster"]) == {"prod"}
    cost = books(tmp_path).scan(COST).filter(pl.col("node") == "node-2").collect()
    assert cost["list_nano_usd"].sum() == 2 * 2_500_000_000


def test_each_node_hour_adds_up_to_what_kube_state_metrics_saw_of_it(run, tmp_path):
    run()
    minutes = 60 * 10**9
    node_hours = books(tmp_path).scan(NODE_HOURS).sort(NODE_HOURS.key).collect()
    existed = dict(node_hours.select(pl.concat_str("node", pl.col("hour_utc").dt.hour()), "existed_ns").iter_rows())
    assert {key: existed[key] / minutes for key in ("node-10", "node-11", "node-30", "node-31")} == {
        "node-10": 60,
        "node-11": 60,
        "node-30": 60 - 590 / 60,
        "node-31": 40,
    }
    device = ["hour_utc", "node", "gpu_uuid"]
    usage = books(tmp_path).scan(USAGE).collect()
    sums = usage.group_by(device).agg(pl.col("gpu_ns").sum()).join(node_hours, on=["hour_utc", "node"])
    assert sums.filter(pl.col("gpu_ns") != pl.col("existed_ns")).is_empty()
    silent = usage.filter(node="node-3")
    assert silent["account"].unique().to_list() == ["unobserved"]
    assert silent["gpu_uuid"].unique().sort().to_list() == ["node-3/gpu-0", "node-3/gpu-1"]
    lost = usage.filter(pl.col("node") == "node-1", pl.col("hour_utc").dt.hour() == 1, account="unobserved")
    assert set(lost["gpu_ns"] // minutes) <= set(range(24, 31))


def test_no_law_of_the_books_is_broken_by_estimates(run, tmp_path):
    run()
    assert list(verify(books(tmp_path))) == []


def test_run_again_it_knows_every_hour(run, tmp_path):
    run()
    before = books(tmp_path).scan(USAGE).collect()
    said = run()
    assert said.startswith("0 hours imported, 2 known before")
    assert "GPUs         3" in said
    assert books(tmp_path).scan(USAGE).collect().equals(before)
    assert run("--again").startswith("2 hours imported, 0 known before")
    assert books(tmp_path).scan(USAGE).sort(USAGE.key).collect().equals(before.sort(USAGE.key))


def test_while_a_controller_keeps_the_books_none_are_imported(run, tmp_path):
    seat = LockFile(tmp_path / "ledger" / LOCK)
    assert seat.try_once() == "ours"
    try:
        with pytest.raises(Misconfigured, match=r"a controller keeps the ledger at .*: stop it while the import runs"):
            run()
    finally:
        seat.give_up()


def test_simulated_books_take_no_estimates_of_real_nodes(run, tmp_path):
    store = books(tmp_path)
    hour = datetime(2026, 11, 1, tzinfo=UTC)
    row = {"source": "simulated", "node": "sim", "instance_id": "", "hour_utc": hour, "day": hour.date()}
    store.append(NODE_HOURS, pl.DataFrame([row], schema=NODE_HOURS.schema))
    with pytest.raises(Misconfigured, match="holds simulated figures"):
        run()


def test_a_prometheus_that_is_away_is_named_and_nothing_is_booked(run, tmp_path, monkeypatch):
    monkeypatch.setattr("collectors.prometheus_api.PAUSE_SECONDS", 0)
    with gate() as door, pytest.raises(Unavailable, match=r"answers 502, 3 times: nothing is booked of it"):
        run(url=address(door))
    assert books(tmp_path).scan(NODE_HOURS).collect().is_empty()


def test_an_hour_that_is_refused_is_told_and_asked_for_again_and_the_other_is_booked(run, tmp_path, monkeypatch):
    def refusing(api, hour_s, *rest):
        if hour_s == FIRST.timestamp():
            raise QueryRefused("http://p answers 422 to x: too many samples")
        return fleet_hour(api, hour_s, *rest)

    with monkeypatch.context() as changed:
        changed.setattr("cli.ledger_import_run.fleet_hour", refusing)
        told = r"1 of 2 hours are not imported, .* of the first, 2026-11-01 00:00 UTC: http://p answers 422"
        with pytest.raises(Unavailable, match=told):
            run()
    assert books(tmp_path).scan(NODE_HOURS).collect()["hour_utc"].unique().to_list() == [FIRST + timedelta(hours=1)]
    assert run().startswith("1 hours imported, 1 known before, 0 without a sample")


def test_a_time_in_which_no_whole_hour_lies_is_refused(run):
    with pytest.raises(Misconfigured, match=r"no whole hour lies between .* give an earlier --since"):
        run("--since", "2026-11-01T00:10", "--until", "2026-11-01T00:50")


def test_without_an_address_it_says_what_to_give(tmp_path):
    done = CliRunner().invoke(import_, ["--data-dir", str(tmp_path)])
    assert "set prometheus.url or give --prometheus URL" in str(done.exception)
