"""What was refused, and what failed, stands in metrics and in the API with its reason, while the good part goes on."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from cli.config import Config
from cli.controller_books import build_books
from cli.controller_jobs import jobs_of
from cli.controller_run import ControllerOptions
from collectors.cost_explorer import Spent
from collectors.journal_pull import AgentAddress
from controller.agents import KnownAgents
from controller.jobs import JobHealth, Jobs
from controller.openapi import document
from ledger.store import Store
from ledger.store_errors import NewerTable
from ledger.tables import LIFETIMES, NODE_HOURS, ON_DEMAND_PRICES
from tests.collectors.aws_server import AwsServer, product
from tests.controller.agent_server import ROW, Agent
from tests.controller.conforms import faults
from tests.controller.site_rig import Fixed, site
from tests.controller.test_bills import Rig as BillsRig
from tests.controller.test_bills import line
from tests.ledger import books_rig, scraped_agent
from tests.ledger.bill_rig import CUR, csv_of
from tests.ledger.ledger_rig import at
from tests.ledger.test_price_keeper import G6, P5, node_hours
from tests.ledger.test_price_keeper import NOW as PRICED
from tests.ledger.test_price_keeper import keeper as keeper_of
from tests.ledger.test_prometheus_fallback import Books as Keeping
from tests.ledger.test_prometheus_fallback import lives

SPEC = document()
DEAD = "http://127.0.0.1:9"


def told(rig, path, schema):
    """An answer of the API, which is as its description says."""
    status, said = rig.get(path)
    assert status == 200, said
    assert faults(said, SPEC["components"]["schemas"][schema], SPEC) == []
    return said


def metrics(rig):
    return rig.page("/metrics")[1].splitlines()


@pytest.fixture
def agents():
    made = []

    def agent(*arguments, **facts):
        made.append(Agent(*arguments, **facts))
        return made[-1]

    yield agent
    for each in made:
        each.server.close()


def test_a_bill_that_is_refused_is_counted_and_named_with_its_reason(tmp_path):
    bills = BillsRig(tmp_path)
    csv_of(bills.folder / "a.csv", line(5, cost="98,32"), form=CUR)
    csv_of(bills.folder / "b.csv", line(6), form=CUR)
    bills.bills.run()
    with site(bills.store, bills.now) as rig:
        rig.lookout.run()
        assert "wattledger_ledger_bills_refused 1" in metrics(rig)
        ((bill, reason),) = told(rig, "/status", "Status")["bills_refused"].items()
    assert "a.csv" in bill + reason
    assert "98,32" in reason
    assert bills.cost() == 98_320_000_000


def test_a_delivery_that_is_not_all_there_is_counted_and_named(tmp_path):
    bills = BillsRig(tmp_path)
    manifest = bills.folder / "cur/20261101-20261201/cur-Manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text('{"reportKeys": ["cur/20261101-20261201/cur-1.csv.gz", "cur/20261101-20261201/cur-2.csv.gz"]}')
    with site(bills.store, bills.now) as rig:
        assert not [each for each in metrics(rig) if each.startswith("wattledger_ledger_bills_waiting")]
        bills.bills.run()
        rig.bills_waiting = bills.bills.waiting
        rig.jobs = {"bills": JobHealth(runs=1)}
        (said,) = told(rig, "/status", "Status")["bills_waiting"]
        assert "wattledger_ledger_bills_waiting 1" in metrics(rig)
    assert said.startswith("acme:cur, 2026-11: 2 of the objects that cur/20261101-20261201/cur-Manifest.json names are")


def test_hours_that_cannot_be_true_are_counted_and_named_with_their_reason(tmp_path, agents):
    store = Store(str(tmp_path))
    good, lies, ahead = agents("good"), agents("lies"), agents("ahead")
    good.close(at(5))
    lies.closed.append((1, {**lies.document(at(5), ROW), "node": "good"}))
    ahead.close(at(15))
    lies.change = 1
    with site(store, at(12)) as rig:
        rig.gather._agents = KnownAgents(tuple(AgentAddress(each.url) for each in (good, lies, ahead)))
        rig.gather.run()
        refused = {each["hour"]: each["reason"] for each in told(rig, "/agents", "Agents")["refused"]}
        assert "wattledger_ledger_journals_refused 2" in metrics(rig)
        assert [each.node for each in rig.books.booked] == ["good"]
    assert set(refused) == {"lies 2026-11-01T05:00:00Z", "ahead 2026-11-01T15:00:00Z"}
    assert "its agent says that it is node 'good'" in refused["lies 2026-11-01T05:00:00Z"]
    assert "it begins after now" in refused["ahead 2026-11-01T15:00:00Z"]


def test_an_agent_that_does_not_answer_is_counted_and_named_with_its_reason(tmp_path):
    with site(Store(str(tmp_path)), at(12)) as rig:
        rig.gather._agents = KnownAgents((AgentAddress(DEAD),))
        rig.gather.run()
        ((silent),) = told(rig, "/agents", "Agents")["silent"]
        assert 'wattledger_agents{state="silent"} 1' in metrics(rig)
    assert silent["url"] == DEAD
    assert "refused" in silent["reason"]


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """The jobs of a controller whose AWS, Prometheus and bills are not there, over a ledger that needs all of them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    store, now = Store(str(tmp_path / "ledger")), scraped_agent.at(5 * scraped_agent.HOUR)
    lives(store, ("n1", "api", 0, 3020, 3020), ("n2", "api", 0, None, 5 * scraped_agent.HOUR))
    Keeping(store).keeper.keep([], since=scraped_agent.at(0), now=now)
    explorer = {"enabled": True, "billing_account": "111", "endpoint_url": DEAD}
    config = {
        "ledger": {"root": str(tmp_path / "ledger")},
        "bills": {
            "sources": [{"name": "acme", "path": str(tmp_path / "none")}],
            "cost_explorer": explorer,
        },
        "prices": {"live": {"pricing_url": DEAD, "ec2_url": DEAD, "attempts": 1, "instances": "off"}},
        "prometheus": {"url": DEAD},
    }
    options = ControllerOptions(Config.model_validate(config))
    present = Fixed(now)
    data = tmp_path / "data"
    books = build_books(options, data, present)
    books.store.claim_epoch()
    jobs = Jobs(jobs_of(options, books, present, lambda: 3600))
    with site(books.reader, now) as rig:
        for name in ("cost", *AWAY):
            jobs.run_once(name)
        rig.jobs, rig.spent = jobs.health, books.cost_explorer.spent()
        yield rig


AWAY = {"prices": "AWS", "bills": "check bills.sources", "cost explorer": "Cost Explorer", "prometheus": DEAD}
"""Job to what its reason names."""


@pytest.fixture
def broken_prices(tmp_path, monkeypatch):
    """AWS lists one price that cannot be and one that can; with the keeper of prices."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    store, aws = Store(str(tmp_path)), AwsServer()
    node_hours(store, {"node": "a", "instance_type": P5}, {"node": "b", "instance_type": G6})
    aws.products = {(P5, "us-east-1"): [product("-1")], (G6, "us-east-1"): [product("0.8048")]}
    with site(store, PRICED) as rig:
        yield rig, keeper_of(store, aws)
    aws.close()


def test_a_source_that_is_away_is_a_job_that_failed_with_its_reason(broken):
    said, lines = told(broken, "/status", "Status")["jobs"], metrics(broken)
    for job, reason in AWAY.items():
        assert f'wattledger_job_up{{job="{job}"}} 0' in lines
        assert f'wattledger_job_failures_total{{job="{job}"}} 1' in lines
        assert reason in said[job]["error"]
        assert said[job]["succeeded_at"] is None
    assert (said["cost"]["error"], 'wattledger_job_up{job="cost"} 1' in lines) == ("", True)
    # October was asked for: a question without an answer counts
    assert "wattledger_cost_explorer_cost_usd 0.01" in lines


def test_a_price_that_cannot_be_is_counted_and_named_with_its_reason(broken_prices):
    rig, keeper = broken_prices
    assert not [each for each in metrics(rig) if each.startswith("wattledger_ledger_prices_refused")]
    keeper.run(rig.present.now())
    rig.prices_refused = keeper.refused
    rig.jobs = {"prices": JobHealth(runs=1)}
    (said,) = told(rig, "/status", "Status")["prices_refused"]
    assert said.startswith(f"AWS price list, {P5} in us-east-1: found -1 USD")
    assert "wattledger_ledger_prices_refused 1" in metrics(rig)
    assert rig.lookout.store.scan(ON_DEMAND_PRICES).collect()["instance_type"].to_list() == [G6]


def test_what_cost_explorer_was_asked_is_told_with_its_cost_and_cap(tmp_path):
    with site(Store(str(tmp_path)), at(12)) as rig:
        assert told(rig, "/status", "Status")["cost_explorer"] is None
        assert not [each for each in metrics(rig) if "cost_explorer" in each]
        rig.spent = Spent(3, 20, Decimal("0.03"))
        shown = told(rig, "/status", "Status")["cost_explorer"]
        assert shown == {"requests": 3, "allowed": 20, "cost_nano_usd": "30000000"}
        assert "wattledger_cost_explorer_requests 3" in metrics(rig)
        assert "wattledger_cost_explorer_cost_usd 0.03" in metrics(rig)


def test_what_does_not_need_a_table_of_a_newer_version_is_seen(tmp_path):
    store = books_rig.books(tmp_path)
    newest = store.version(LIFETIMES) + 1
    protocol = {"protocol": {"minReaderVersion": 99, "minWriterVersion": 99}}
    for name, version in (("cost", None), ("lifetimes", newest)):
        folder: Path = tmp_path / name / "_delta_log"
        number = len(list(folder.glob("*.json"))) if version is None else version
        (folder / f"{number:020}.json").write_text(json.dumps(protocol))
    with site(store, at(12)) as rig:
        with pytest.raises(NewerTable, match=r"/cost: .*/lifetimes: "):
            rig.lookout.run()
        said = told(rig, "/status", "Status")
        assert said["last_closed"] == "2026-11-01T08:00:00Z"
        assert said["versions"]["node_hours"] == store.version(NODE_HOURS)
        assert not {"cost", "lifetimes"} & set(said["versions"])
        assert not [each for each in metrics(rig) if each.startswith("wattledger_ledger_cost_usd{")]
        assert "wattledger_ledger_bills_refused 0" in metrics(rig)
        assert rig.page("/readyz") == (200, "leads\n")
