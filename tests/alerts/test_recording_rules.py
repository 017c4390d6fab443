"""Two nodes, numbers worked by hand.

``work_group`` chat: leader on n1 and worker on n2, a thousandth of a dollar a second each, 400 and 300 W. The leader's
page tells 2 requests, 500 input and 100 output tokens a second, a quarter of the time in prefill. ``workload`` code: a
replica on each node at the same price, 1000 input, 1000 cached and 100 output tokens a second each, no phases.
"""

import subprocess

import pytest

from alerts.recording_rules import RuleSettings, recording_groups
from alerts.render import rule_files
from alerts.rule import render_yaml
from tests.alerts.promtool import check, constant, growing

pytestmark = pytest.mark.tool("promtool")
COST, ENERGY = "wattledger_account_list_cost_usd_total", "wattledger_account_energy_joules_total"
CHAT = {"namespace": "ml", "work_group": "chat"}
CODE = {"namespace": "ml", "workload": "Deployment/code"}


def pod(node, name):
    return {"node": node, "namespace": "ml", "pod": name, "container": "engine"}


def burns(node, name, watts):
    device = {"gpu_uuid": f"GPU-{node}", "mig": ""}
    return [
        growing(COST, 0.00075, account="active", **device, **pod(node, name)),
        growing(COST, 0.00025, account="idle", **device, **pod(node, name)),
        growing(ENERGY, watts, account="active", **device, **pod(node, name)),
    ]


def works(node, name, **per_second):
    return [growing("wattledger_work_total", n, kind=k, model="m", **pod(node, name)) for k, n in per_second.items()]


def phases(node, name, **per_second):
    name_of = "wattledger_serving_phase_seconds_total"
    return [growing(name_of, n, phase=k, model="m", **pod(node, name)) for k, n in per_second.items()]


BOTH = ("n1", "n2")
SERIES = [
    *burns("n1", "chat-0", 400),
    *burns("n2", "chat-1", 300),
    constant("wattledger_work_group_info", 1, work_group="chat", **pod("n1", "chat-0")),
    constant("wattledger_work_group_info", 1, work_group="chat", **pod("n2", "chat-1")),
    *works("n1", "chat-0", requests=2, input_tokens=500, output_tokens=100),
    *phases("n1", "chat-0", prefill=0.25, decode=0.75),
    *(each for n in BOTH for each in burns(n, f"code-{n}", 100)),
    *(constant("wattledger_holder_info", 1, workload=CODE["workload"], team="t", **pod(n, f"code-{n}")) for n in BOTH),
    *(each for n in BOTH for each in works(n, f"code-{n}", input_tokens=1000, cached_tokens=1000, output_tokens=100)),
    growing(COST, 5, account="active", gpu_uuid="GPU-n1", mig="", node="n1", pod="__finished__"),
]
EXPECTED = {
    "work_group:wattledger_cost_per_request_usd:rate5m": [(CHAT, 0.001)],
    "work_group:wattledger_cost_per_million_input_tokens_usd:rate5m": [(CHAT, 1.0)],
    "work_group:wattledger_cost_per_million_output_tokens_usd:rate5m": [(CHAT, 15.0)],
    "work_group:wattledger_joules_per_request:rate5m": [(CHAT, 350.0)],
    "work_group:wattledger_joules_per_output_token:rate5m": [(CHAT, 7.0)],
    "work_group:wattledger_joules_per_total_token:rate5m": [(CHAT, 700 / 600)],
    # 2 x (1000 + 0.1 x 1000 + 4 x 100) = 3000 weighed tokens for 0.002 $.
    "workload:wattledger_cost_per_million_input_tokens_usd:rate5m": [(CODE, 2 / 3)],
    "workload:wattledger_cost_per_million_output_tokens_usd:rate5m": [(CODE, 8 / 3)],
    "workload:wattledger_joules_per_total_token:rate5m": [(CODE, 200 / 4200)],
    "workload:wattledger_cost_per_request_usd:rate5m": [(CODE, None)],
}


def run(program, folder, series=SERIES, expected=EXPECTED, settings=None):
    rules = render_yaml("", recording_groups(settings or RuleSettings()))
    return check(program, folder, rules, series, expected)


def test_the_sum_of_cost_by_the_sum_of_work_over_two_nodes(tmp_path, require_tool):
    assert run(require_tool("promtool"), tmp_path)[0] == 0, run(require_tool("promtool"), tmp_path)[1]


def test_a_worker_that_is_left_out_is_seen(tmp_path, require_tool):
    without = [each for each in SERIES if 'pod="chat-1"' not in each["series"]]
    status, said = run(require_tool("promtool"), tmp_path, without)
    assert status == 1
    assert "cost_per_request_usd" in said


def test_no_work_is_absent(tmp_path, require_tool):
    idle = [each for each in SERIES if "work_total" not in each["series"] and "phase" not in each["series"]]
    nothing = {name: [] for name in EXPECTED}
    assert run(require_tool("promtool"), tmp_path, idle, nothing) == (
        0,
        run(require_tool("promtool"), tmp_path, idle, nothing)[1],
    )


def test_the_weights_of_an_installation_are_in_its_rules(tmp_path, require_tool):
    settings = RuleSettings(output_token_weight=2, cached_token_weight=0.5)
    # 2 x (1000 + 0.5 x 1000 + 2 x 100) = 3400.
    expected = {"workload:wattledger_cost_per_million_output_tokens_usd:rate5m": [(CODE, 2 * 2000 / 3400)]}
    status, said = run(require_tool("promtool"), tmp_path, expected=expected, settings=settings)
    assert status == 0, said


def test_a_bare_host_groups_by_its_own_holder_labels(tmp_path, require_tool):
    rules = render_yaml("", recording_groups(RuleSettings(holder_labels=("holder_kind", "holder"))))
    holder = {"node": "n1", "holder_kind": "systemd", "holder": "vllm.service"}
    series = [
        growing(COST, 0.001, account="active", gpu_uuid="GPU-1", mig="", **holder),
        constant("wattledger_work_group_info", 1, work_group="chat", **holder),
        growing("wattledger_work_total", 4, kind="requests", model="m", **holder),
    ]
    expected = {"work_group:wattledger_cost_per_request_usd:rate5m": [({"work_group": "chat"}, 0.00025)]}
    status, said = check(require_tool("promtool"), tmp_path, rules, series, expected)
    assert status == 0, said


def test_promtool_takes_every_file(tmp_path, require_tool):
    for name, text in rule_files(RuleSettings()).items():
        (tmp_path / name).write_text(text)
        done = subprocess.run(
            [require_tool("promtool"), "check", "rules", name],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
