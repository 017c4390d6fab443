"""What the API answers: each route by its description, figures to the last unit, bad questions with a remedy."""

import json

import polars as pl
import pytest

from controller.openapi import document
from controller.site import Doors
from exporters.http_secrets import Token
from ledger.audit import AuditRow, Target, append
from ledger.store import Store
from ledger.store_errors import StoreError
from ledger.tables import ALL, COST, NODE_HOURS, USAGE
from tests.controller.agent_server import Agent
from tests.controller.conforms import faults
from tests.controller.site_rig import site
from tests.ledger import books_rig
from tests.ledger.ledger_rig import at

WINDOW = "window=2026-11-01T00:00:00Z,2026-11-03T00:00:00Z"
SPEC = document()
ROUTES = [(path.removeprefix("/api/v1"), methods["get"]) for path, methods in SPEC["paths"].items() if "get" in methods]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return books_rig.books(tmp_path_factory.mktemp("books") / "ledger")


@pytest.fixture
def rig(store):
    with site(store, at(12)) as made:
        made.lookout.run()
        yield made


def schema_of(route, status):
    return route["responses"][str(status)]["content"]["application/json"]["schema"]


def exact(answer, amount="cost_nano_usd"):
    return {
        name: int(each["exact"][amount])
        for one in answer["data"]
        for name, each in one.items()
        if each["exact"][amount]
    }


def total(store, column="effective_nano_usd", table=COST):
    return store.scan(table).select(pl.col(column).sum()).collect().item()


@pytest.mark.parametrize(("path", "route"), ROUTES, ids=[path for path, _ in ROUTES])
def test_each_route_answers_as_its_description_says(rig, path, route):
    query = f"?{WINDOW}" if any(each["name"] == "window" for each in route["parameters"]) else ""
    status, said = rig.get(path + query)
    assert status == 200, said
    assert faults(said, schema_of(route, 200), SPEC) == []


@pytest.mark.parametrize(("path", "route"), ROUTES, ids=[path for path, _ in ROUTES])
def test_each_route_refuses_what_it_does_not_know(rig, path, route):
    status, said = rig.get(f"{path}?nonsense=1")
    assert status == 400
    assert "no parameter 'nonsense'; there are" in said["message"]
    assert faults(said, schema_of(route, 400), SPEC) == []


@pytest.mark.parametrize(("path", "route"), ROUTES, ids=[path for path, _ in ROUTES])
def test_each_parameter_that_is_described_is_taken(rig, path, route):
    """Every word of every enumeration, and every default, is followed."""
    base = [f"{WINDOW}"] if any(each["name"] == "window" for each in route["parameters"]) else []
    for parameter in route["parameters"]:
        for word in parameter["schema"].get("enum", ()):
            query = "&".join([*base, f"{parameter['name']}={word}"])
            status, said = rig.get(f"{path}?{query}")
            assert status == 200, (query, said)
            assert faults(said, schema_of(route, 200), SPEC) == []


def test_the_check_of_conformity_finds_faults():
    schema = SPEC["components"]["schemas"]["Agents"]
    assert faults({"answering": "2", "silent": [{}], "refused": [], "more": 1}, schema, SPEC) == [
        "$: lacks last",
        "$.answering: '2' is no ['integer']",
        "$.silent[0]: lacks url",
        "$.silent[0]: lacks reason",
        "$: has more, which is not told",
    ]


def test_all_that_is_served_under_the_api_is_described(rig):
    served = {path for path in rig.site._routes if path.startswith("/api/")}
    assert served - {"/api/v1/openapi.json"} == {path for path, methods in SPEC["paths"].items() if "get" in methods}
    assert json.loads(rig.site.answer("/api/v1/openapi.json", {}).body) == SPEC


@pytest.mark.parametrize(
    "by", ["holder", "node", "team,workload", "account", "label:project", "gpu_model,region", "controller"]
)
def test_each_dollar_stands_once_whatever_is_asked_for(rig, store, by):
    _, said = rig.get(f"/allocation?{WINDOW}&aggregate={by}&basis=effective")
    assert sum(exact(said).values()) == total(store)
    assert sum(exact(said, "gpu_ns").values()) == total(store, "gpu_ns", USAGE)
    assert not said["meta"]["truncated"]


@pytest.mark.parametrize("step", ["hour", "day", "week", "month"])
def test_steps_add_up_to_the_whole(rig, store, step):
    _, said = rig.get(f"/allocation?{WINDOW}&aggregate=holder&basis=effective&accumulate={step}")
    totals = [int(each["exact"]["cost_nano_usd"]) for one in said["data"] for each in one.values()]
    assert sum(totals) == total(store)
    starts = [next(iter(one.values()))["start"] for one in said["data"]]
    assert starts == sorted(set(starts))
    assert all(each["start"] < each["end"] for one in said["data"] for each in one.values())


def test_a_step_is_cut_to_the_window(rig):
    _, said = rig.get(f"/allocation?{WINDOW}&accumulate=month")
    assert {each["window"]["end"] for each in said["data"][0].values()} == {"2026-11-03T00:00:00Z"}


@pytest.mark.parametrize("split", ["weighted", "even", "gpu_time", "active_time", "energy", "requested"])
def test_what_is_shared_is_shared_to_the_last_unit(rig, store, split):
    query = f"/allocation?{WINDOW}&aggregate=holder&basis=effective&shareIdle=true&shareCharges=true&shareSplit={split}"
    _, said = rig.get(query)
    assert "__idle__" not in said["data"][0] or said["data"][0]["__idle__"]["exact"]["cost_nano_usd"] == "0"
    assert sum(exact(said).values()) + sum(exact(said, "spread_nano_usd").values()) == total(store)
    assert exact(said, "spread_nano_usd")["ml/chat-0/server"] != 0


def test_a_filter_keeps_what_fits(rig):
    _, said = rig.get(f"/allocation?{WINDOW}&aggregate=holder&filter=node:a&filter=holder:ml/chat-0/server,other")
    assert list(said["data"][0]) == ["ml/chat-0/server"]


def test_the_figures_are_those_of_the_version_that_is_told(rig, store):
    _, said = rig.get(f"/allocation?{WINDOW}")
    assert said["meta"]["versions"] == {"cost": store.version(COST), "usage": store.version(USAGE)}


def test_floats_are_the_exact_figures_rounded(rig):
    _, said = rig.get(f"/allocation?{WINDOW}&aggregate=node")
    for each in said["data"][0].values():
        assert each["gpuCost"] == int(each["exact"]["cost_nano_usd"]) / 1e9
        assert each["totalCost"] == pytest.approx(each["gpuCost"] + each["sharedCost"])


def test_groups_that_look_alike_do_not_swallow_each_other(tmp_path):
    from controller.api_allocation import _unlike

    assert _unlike("a/b", {"a/b": 1, "a/b (2)": 2}) == "a/b (3)"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "window is missing; allowed: 24h, 7d"),
        ("window=7x", "window: found '7x', allowed"),
        ("window=7d&aggregate=color", "aggregate: found 'color', allowed: account,"),
        ("window=7d&accumulate=yes", "accumulate: found 'yes', allowed: true, false, hour"),
        ("window=7d&shareSplit=fair", "shareSplit: found 'fair', allowed: weighted, even"),
        ("window=7d&filter=team", "filter: found 'team', allowed: COLUMN:VALUE"),
        ("window=7d&filter=node:a&filter=node:b", "filter: node is given twice; give it once, its values with commas"),
        ("window=7d&filter=workload:a&filter=controller:b", "filter: controller is given twice"),
        ("window=7d&filter=label:a%20b:x", "filter: found 'label:a b', allowed: account,"),
        ("window=9999-12-31T00:00:00Z,9999-12-31T23:30:00Z", "allowed: years from 1970 to 9998"),
        ("window=7d&filter=team:a&shareIdle=true", "filter: cannot be given with shareIdle"),
        ("window=7d&basis=real", "basis: found 'real', allowed: best, list, effective"),
        ("window=7d&limit=0", "limit: found '0', allowed"),
    ],
)
def test_a_bad_question_is_told_what_is_allowed(rig, query, said):
    status, answer = rig.get(f"/allocation?{query}")
    assert status == 400
    assert said in answer["message"]


def test_more_rows_than_the_limit_are_said_to_be_missing(rig):
    _, said = rig.get(f"/allocation?{WINDOW}&aggregate=holder&limit=1")
    assert said["meta"]["truncated"]
    _, said = rig.get(f"/hours?{WINDOW}&limit=2")
    assert (len(said["node_hours"]), said["meta"]["truncated"]) == (2, True)


def test_hours_are_told_by_node_and_state(rig):
    _, said = rig.get(f"/hours?{WINDOW}&node=b&state=provisional")
    assert [(each["hour_utc"], each["node"]) for each in said["node_hours"]] == [("2026-11-01T06:00:00Z", "b")]
    assert said["node_hours"][0]["existed_ns"] == "3600000000000"


def test_variance_names_its_reason_and_what_only_one_side_knows(rig):
    _, said = rig.get(f"/variance?{WINDOW}")
    assert {each["reason"] for each in said["variance"]} >= {"commitment"}
    assert [each["node"] for each in said["billed_not_observed"]] == ["b"]


def test_the_laws_are_looked_at_over_the_window(rig):
    _, said = rig.get(f"/verify?{WINDOW}")
    assert (said["holds"], said["breaks"]) == (True, [])
    assert "time" in {law["law"] for law in said["laws"]}


def test_what_was_verified_is_told_by_the_version_of_each_table(rig, store):
    _, said = rig.get(f"/verify?{WINDOW}")
    assert said["meta"]["versions"] == {table.name: store.version(table) for table in ALL}
    assert said["meta"]["versions"]["cost"] is not None
    assert said["meta"]["changed_meanwhile"] is False


def test_budgets_are_told_with_their_state(rig, store):
    _, said = rig.get("/budgets")
    states = {each["name"]: each["state"] for each in said["budgets"]}
    assert states["ml"] == "over"
    assert said["meta"]["versions"] == {"cost": store.version(COST), "node_hours": store.version(NODE_HOURS)}
    assert said["budgets"][0]["reason"] == "0 whole days are booked, a forecast takes 2"


def test_the_audit_tells_the_last_action_first(tmp_path):
    store, chat = Store(str(tmp_path)), Target("eu", "Deployment", "ml", "chat")
    moments = [at(5), at(6), at(7)]
    results = ["", "done", "conflict"]
    phases = ["intent", "result", "result"]
    append(
        store,
        [
            AuditRow(moment, "a1", phase, "down", chat, before='{"replicas":3}', result=result)
            for moment, phase, result in zip(moments, phases, results, strict=True)
        ],
    )
    with site(store, at(12)) as acts:
        _, said = acts.get(f"/audit?{WINDOW}&namespace=ml&action=down,restore")
        assert [each["at_utc"] for each in said["audit"]] == [f"2026-11-01T0{hour}:00:00Z" for hour in (7, 6, 5)]
        assert said["audit"][2]["before"] == '{"replicas":3}'
        _, said = acts.get(f"/audit?{WINDOW}&result=conflict&limit=1")
        assert [each["result"] for each in said["audit"]] == ["conflict"]
        assert acts.get(f"/audit?{WINDOW}&name=other")[1]["audit"] == []


def test_status_and_metrics_tell_of_the_same_books(rig):
    _, said = rig.get("/status")
    assert (said["leads"], said["epoch"], said["last_closed"]) == (True, 7, "2026-11-01T08:00:00Z")
    assert said["jobs"]["pull"]["failures"] == 1
    _, page = rig.page("/metrics")
    assert "wattledger_ledger_last_closed_timestamp_seconds 1793520000" in page
    assert "wattledger_ledger_lag_seconds 14400" in page
    assert 'wattledger_budget_used_ratio{budget="ml"}' in page
    assert 'wattledger_ledger_variance_usd{window="30d",reason="commitment"}' in page


def test_quotas_are_told_with_what_was_held(rig):
    assert rig.get("/quotas")[1]["quotas"] == []
    rig.quotas.run()
    _, said = rig.get("/quotas")
    assert faults(said, SPEC["components"]["schemas"]["Quotas"], SPEC) == []
    told = {each["quota"]: each for each in said["quotas"]}
    assert set(told) == {"ml/gpus", "research", "dev/slices"}
    # three hours are booked
    assert told["ml/gpus"]["granted_ns"] == str(3 * 4 * 3600 * 10**9)
    assert int(told["ml/gpus"]["held_ns"]) > int(told["ml/gpus"]["active_ns"]) > 0
    assert told["dev/slices"]["held_ns"] is None
    _, page = rig.page("/metrics")
    labels = 'kind="ResourceQuota",quota="ml/gpus",resource="nvidia.com/gpu"'
    assert f'wattledger_quota_gpus{{{labels},state="granted"}} 4\n' in page
    assert f'wattledger_quota_held_ratio{{{labels},state="held"}} ' in page
    assert 'quota="research",resource="nvidia.com/gpu",state="used"' not in page


def test_the_laws_of_the_last_day_are_told(store):
    with site(store, at(12).replace(day=2)) as later:
        later.lookout.run()
        assert "wattledger_ledger_law_breaks" not in later.page("/metrics")[1]
        later.lookout.prove()
        assert 'wattledger_ledger_law_breaks{law="time"} 0\n' in later.page("/metrics")[1]


def test_nothing_is_ready_before_the_books_were_looked_at(store):
    with site(store, at(12)) as fresh:
        assert fresh.page("/readyz")[0] == 503
        assert fresh.page("/healthz")[0] == 200
        fresh.lookout.run()
        assert fresh.page("/readyz") == (200, "leads\n")
        fresh.leads = False
        assert fresh.page("/readyz") == (200, "stands by\n")


def test_a_token_is_asked_for_before_anything_is_told(store, tmp_path):
    (tmp_path / "token").write_text("read")
    with site(store, at(12), Doors(read=Token(tmp_path / "token"))) as closed:
        assert closed.site.answer("/api/v1/status", {}).status == 401
        assert closed.get("/status", Authorization="Bearer read")[0] == 200
        assert closed.page("/healthz")[0] == 200


@pytest.fixture
def hour():
    agent = Agent("a")
    yield {"node": "a", "source": "nvml", "change": 1, "hours": [agent.document(at(6), closed=False)]}
    agent.server.close()


def test_hours_are_taken_from_an_agent_that_ends(rig, hour):
    status, said = rig.post(hour)
    assert (status, json.loads(said)) == (200, {"booked": 1, "refused": {}})
    assert faults(json.loads(said), SPEC["components"]["schemas"]["Booked"], SPEC) == []
    assert [each.node for each in rig.books.booked] == ["a"]


def test_an_hour_that_cannot_be_is_named(rig, hour):
    hour["hours"].append({**hour["hours"][0], "node": "other"})
    _, said = rig.post(hour)
    assert json.loads(said)["booked"] == 1
    assert "its agent says that it is node 'other'" in next(iter(json.loads(said)["refused"].values()))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "the body is no JSON"),
        (b"[1]", "the body has no node or no hours"),
        (b'{"node": "a", "hours": []}', "the body has no node or no hours"),
        (b"[" * 100_000, "the body is no JSON (RecursionError)"),
    ],
)
def test_a_body_that_is_no_journal_is_refused(rig, body, said):
    status, answer = rig.post(body)
    assert status == 400
    assert said in answer


def test_only_who_may_push_pushes(store, hour, tmp_path):
    (tmp_path / "token").write_text("push")
    with site(store, at(12), Doors(push=Token(tmp_path / "token"))) as asks:
        assert asks.post(hour)[0] == 401
        assert asks.post(hour, Authorization="Bearer push")[0] == 200
    with site(store, at(12), Doors()) as nobody:
        status, said = nobody.post(hour)
        assert status == 403
        assert "set controller.push_token_file" in said


@pytest.mark.parametrize(
    ("headers", "status", "why"),
    [
        ({"Origin": "http://evil.example"}, 403, "not from web pages"),
        ({"Origin": "null"}, 403, "not from web pages"),
        ({"Content_Type": "text/plain"}, 415, "Content-Type: application/json"),
        ({"Content_Type": ""}, 415, "Content-Type: application/json"),
        ({"Host": "evil.example:9478"}, 403, "this machine alone may push here"),
        ({"Host": "[::1"}, 403, "this machine alone may push here"),
    ],
)
def test_no_web_page_pushes_to_a_controller_of_this_machine(rig, hour, headers, status, why):
    found, said = rig.post(hour, **headers)
    assert (found, rig.books.booked) == (status, [])
    assert why in said


@pytest.mark.parametrize("host", ["127.0.0.1:9478", "[::1]:9478", "LOCALHOST"])
def test_this_machine_pushes_by_each_of_its_own_names(rig, hour, host):
    assert rig.post(hour, Host=host, Content_Type="application/json; charset=utf-8")[0] == 200


def test_with_a_token_the_host_may_be_any_name_and_web_pages_are_refused_all_the_same(store, hour, tmp_path):
    (tmp_path / "token").write_text("push")
    with site(store, at(12), Doors(push=Token(tmp_path / "token"))) as asks:
        assert asks.post(hour, Authorization="Bearer push", Host="controller.example")[0] == 200
        assert asks.post(hour, Authorization="Bearer push", Origin="http://a.example")[0] == 403


def test_a_stand_by_takes_nothing(rig, hour):
    rig.leads = False
    status, said = rig.post(hour)
    assert status == 503
    assert "this controller stands by" in said
    assert rig.books.booked == []


def test_books_that_cannot_be_written_are_said_so(rig, hour):
    rig.books.failure = StoreError("no room is left there")
    assert rig.post(hour) == (503, '{"code": 503, "status": "error", "message": "no room is left there"}')


def test_nothing_else_is_posted_to(rig):
    status, said = rig.post(b"{}", "/allocation")
    assert status == 405
    assert "POST goes to /api/v1/hours" in said


def test_books_that_cannot_be_read_are_said_so(tmp_path):
    (tmp_path / "cost").mkdir()
    (tmp_path / "cost/_delta_log").mkdir()
    (tmp_path / "cost/_delta_log/00000000000000000000.json").write_text("{")
    with site(Store(str(tmp_path)), at(12)) as broken:
        status, said = broken.get("/allocation?window=7d")
        assert status == 503
        assert "cannot read cost" in said["message"]
