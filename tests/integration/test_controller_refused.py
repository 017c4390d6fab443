"""A controller whose ledger refuses it: it stays, says why in metrics and API, keeps what can be kept, and goes on."""

import urllib.error
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from cli.controller_seat import LOCK
from controller.lease import LockFile
from ledger.store import Store
from ledger.tables import NODE_HOURS
from ledger.verify import verify
from tests.controller.agent_server import Agent
from tests.integration.agent_process import AgentProcess, eventually, fetch
from tests.integration.test_books import api_of, ask
from tests.ledger.newer_delta import commit_newer
from tests.ledger.store_rig import bucket, hours

SECONDS = 240
"""A claim of a bucket takes 2 s where nothing else runs."""
HOUR = timedelta(hours=1)


def ago(count):
    """The begin of an hour so many hours ago."""
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - count * HOUR


@pytest.fixture
def agent():
    made = Agent("node-1")
    made.close(ago(3))
    yield made
    made.server.close()


@contextmanager
def controller(folder, agent, options=None, **ledger):
    """A controller of one agent, pulled every second; with the address of its API."""
    config = {
        "controller": {"server": {"listen": "127.0.0.1:0"}, "pull_interval_seconds": 1},
        "ledger": ledger,
        "prices": {"cloud_identity": "off", "live": {"aws": "off"}},
    }
    command = ("controller", "--agent", agent.url)
    with AgentProcess(folder, options or {}, command=command, config=config) as process:
        yield process, api_of(process)


def job(api, name):
    return ask(f"{api}/status")["jobs"][name]


def failed(api, name, why):
    """Whether a job's last run failed for this reason, by API and metrics."""
    line = f'wattledger_job_up{{job="{name}"}} 0'
    return why in job(api, name)["error"] and line in page(api)


def up(api, name):
    return f'wattledger_job_up{{job="{name}"}} 1' in page(api)


def page(api):
    return fetch(f"{api.removesuffix('/api/v1')}/metrics").splitlines()


def booked(store):
    rows = store.scan(NODE_HOURS).filter(node="node-1", state="final").sort("hour_utc").collect()
    return [hour.strftime("%Y-%m-%dT%H:%M:%SZ") for hour in rows["hour_utc"]]


NO_PERMISSION = "no permission: allow s3:GetObject, PutObject, DeleteObject and ListBucket"
NEWER_DELTA = "needs a newer Delta than this wattledger has, nothing was changed"


def test_a_bucket_without_permission_is_tried_until_it_may_be_kept_and_loses_no_hour(tmp_path, agent):
    gate = tmp_path / "closed"
    gate.touch()
    with bucket(str(gate)) as options, controller(tmp_path, agent, options, root="s3://books/fleet") as (_, api):
        eventually("the claim is refused", lambda: failed(api, "claim", NO_PERMISSION), SECONDS, every=0.2)
        assert not ask(f"{api}/status")["leads"]
        first = agent.closed[0][1]["hour_utc"]
        gate.unlink()
        store = Store("s3://books/fleet", options=options)
        eventually("the hour is booked", lambda: booked(store) == [first], SECONDS, every=0.5)
        assert (up(api, "claim"), job(api, "claim")["error"]) == (True, "")
        assert ask(f"{api}/status")["leads"]
        gate.touch()
        agent.close(ago(2))
        eventually("the pull is refused", lambda: failed(api, "pull", NO_PERMISSION), SECONDS, every=0.2)
        gate.unlink()
        both = [document["hour_utc"] for _, document in agent.closed]
        eventually("both are booked", lambda: booked(store) == both, SECONDS, every=0.5)
        assert list(verify(store)) == []


def test_a_ledger_of_the_other_kind_is_refused_once_it_can_be_read(tmp_path, agent):
    ledger = tmp_path / "books/ledger"
    Store(str(ledger)).append(NODE_HOURS, hours((ago(3), "a", 1)).with_columns(source=pl.lit("simulated")))
    log = ledger / "node_hours/_delta_log/00000000000000000000.json"
    whole = log.read_text()
    log.write_text("{")
    with controller(tmp_path, agent) as (process, api):
        eventually("the claim fails", lambda: failed(api, "claim", "cannot read node_hours"), SECONDS, every=0.2)
        log.write_text(whole)
        assert process.wait(SECONDS) == 2
        assert "holds simulated figures and measured ones were about to be written into it" in process.said


def test_a_ledger_of_the_other_kind_is_refused_at_once_though_another_keeps_it(tmp_path, agent):
    ledger = tmp_path / "books/ledger"
    Store(str(ledger)).append(NODE_HOURS, hours((ago(3), "a", 1)).with_columns(source=pl.lit("simulated")))
    seat = LockFile(ledger / LOCK)
    assert seat.try_once() == "ours"
    process = AgentProcess(tmp_path, command=("controller", "--agent", agent.url))
    assert process.wait(SECONDS) == 2
    assert "holds simulated figures and measured ones were about to be written into it" in process.said
    seat.give_up()


def test_a_table_of_a_newer_version_is_told_at_the_start_and_the_rest_is_served(tmp_path, agent):
    ledger = tmp_path / "books/ledger"
    Store(str(ledger)).claim_epoch()
    commit = commit_newer(ledger / "cost")
    with controller(tmp_path, agent) as (_, api):
        eventually("the claim is refused", lambda: failed(api, "claim", NEWER_DELTA), SECONDS, every=0.2)
        assert job(api, "pull")["runs"] == 0
        assert ask(f"{api}/hours?window=7d")["node_hours"] == []
        commit.unlink()
        eventually("the hour is booked", lambda: booked(Store(str(ledger))), SECONDS, every=0.2)


def test_a_table_that_becomes_a_newer_versions_stops_what_touches_it_alone(tmp_path, agent):
    store = Store(str(tmp_path / "books/ledger"))
    with controller(tmp_path, agent) as (_, api):
        eventually("the hour is booked", lambda: booked(store), SECONDS, every=0.2)
        eventually("its cost is", lambda: up(api, "cost"), SECONDS, every=0.2)
        before = booked(store)
        commit = commit_newer(tmp_path / "books/ledger/cost")
        agent.close(ago(2))
        for name in ("pull", "look"):
            eventually(f"{name} is refused", lambda name=name: failed(api, name, NEWER_DELTA), SECONDS, every=0.2)
        assert [each["hour_utc"] for each in ask(f"{api}/hours?window=7d&state=final")["node_hours"]] == before
        with pytest.raises(urllib.error.HTTPError, match="503") as refused:
            ask(f"{api}/allocation?window=7d")
        assert NEWER_DELTA in refused.value.read().decode()
        assert "wattledger_ledger_bills_refused 0" in page(api)
        assert [line for line in page(api) if line.startswith("wattledger_ledger_cost_usd{")] == []
        commit.unlink()
        eventually("the other hour is booked", lambda: len(booked(store)) == 2, SECONDS, every=0.2)
    assert list(verify(store)) == []
