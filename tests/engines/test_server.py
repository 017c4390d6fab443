import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.engines.load import Load
from tests.engines.server import ScriptedEngine

CHECKOUT = Path(__file__).parents[2]


def test_a_script_serves_by_the_clock():
    now = [0.0]
    loads = [Load(requests_per_second=2, seconds=10, input_tokens=5), Load(requests_per_second=1, seconds=10)]
    with ScriptedEngine("vllm", loads=loads, clock=lambda: now[0]) as engine:
        now[0] = 14.0
        assert engine.truth() == {
            "requests": 24,
            "input_tokens": 20 * 5 + 4 * 100,
            "cached_tokens": 0,
            "output_tokens": 24 * 50,
        }


def test_the_truth_outlives_a_restart_but_the_page_does_not():
    with ScriptedEngine("vllm", clock=lambda: 0.0) as engine:
        engine.serve(3)
        engine.restart()
        engine.serve(2)
        assert engine.truth()["requests"] == 5
        assert (
            'vllm:request_success_total{engine="0",finished_reason="stop",model_name="test-model"} 2.0' in engine.page()
        )


def test_a_kind_that_nobody_speaks_is_refused():
    with pytest.raises(ValueError, match="kind is 'ollama'; allowed: vllm, sglang"):
        ScriptedEngine("ollama")


def test_as_a_process_of_its_own_it_takes_orders():
    command = [sys.executable, "-m", "tests.engines.server", "--kind", "sglang", "--model", "m"]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().strip()
            base = url.removesuffix("/metrics")
            order = json.dumps({"requests": 4, "input_tokens": 3}).encode()
            with urllib.request.urlopen(f"{base}/serve", data=order, timeout=5) as answer:
                assert json.load(answer)["requests"] == 4
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert 'sglang:prompt_tokens_total{model_name="m"} 12.0' in answer.read().decode()
        finally:
            process.terminate()
