import math

import pytest

from collectors.openmetrics import PageRefused
from collectors.serving_counters import CounterDeltas
from collectors.serving_engines import BY_NAME, ENGINES, detect_engines, mapped_names
from collectors.serving_page import EngineUnknown, Histogram, PageReading, TenantCap, read_engine_page
from tests.engines.load import Load
from tests.engines.server import ScriptedEngine

OPT = "facebook/opt-125m"
LOAD = Load(input_tokens=100, cached_tokens=40, output_tokens=11, queue_seconds=0.02, prefill_seconds=0.06)


def scripted(kind, requests=3, **options):
    """The page of an engine that served some requests, and nothing more."""
    engine = ScriptedEngine(kind, model="m", clock=lambda: 0.0, **options)
    with engine:
        engine.serve(requests, LOAD)
        engine.running, engine.waiting, engine.kv_cache_usage = 2, 5, 0.25
        return engine.page().encode()


def read(text, tenants=None, **reading):
    return read_engine_page(text.encode() if isinstance(text, str) else text, PageReading(**reading), tenants)


def work_of(page):
    return {kind: amount for (_, _, kind), amount in page.work.items()}


def phase_ns(page):
    """All the engine time that a page tells of, as it is booked of an engine that just started."""
    return CounterDeltas().book(page, from_zero=True).phase_ns


def test_a_real_vllm_page_gives_its_own_figures(shared_data):
    page = read((shared_data / "llm_metrics_pages/vllm_metrics.txt").read_bytes())
    assert page.engine == "vllm"
    assert page.work == {
        (OPT, "", "requests"): 1,
        (OPT, "", "input_tokens"): 5,
        (OPT, "", "cached_tokens"): 64,
        (OPT, "", "output_tokens"): 7,
    }
    assert page.gauges == {(OPT, "queue_depth"): 0, (OPT, "running"): 0, (OPT, "kv_cache_usage"): 0}
    assert page.start_time_seconds == 1718140558.3


def test_on_a_real_vllm_page_the_new_name_counts_and_the_old_ones_are_not_added(shared_data):
    latency = read((shared_data / "llm_metrics_pages/vllm_metrics.txt").read_bytes()).latency
    per_token = latency[OPT, "time_per_output_token"]
    assert (per_token.count, per_token.sum_seconds) == (144, 0.6237391703762114)
    assert per_token.buckets == {0.01: 141, 0.1: 144, math.inf: 144}
    assert latency[OPT, "time_to_first_token"].sum_seconds == 0.31326723098754883
    assert latency[OPT, "end_to_end_latency"].count == 1
    assert latency[OPT, "queue_time"].sum_seconds == 7.358146831393242e-05


def test_decode_seconds_of_a_real_vllm_page_are_not_the_sum_of_means_per_request(shared_data):
    spent_ns = phase_ns(read((shared_data / "llm_metrics_pages/vllm_metrics.txt").read_bytes()))
    assert spent_ns == {(OPT, "prefill"): 214_004_113, (OPT, "decode"): 623_739_170}


def test_a_real_triton_page_gives_its_own_figures_in_seconds(shared_data):
    page = read((shared_data / "llm_metrics_pages/triton_metrics_head.txt").read_bytes())
    assert page.engine == "triton"
    assert len({model for model, _, _ in page.work}) == 8
    assert sum(amount for (_, _, kind), amount in page.work.items() if kind == "requests") == 3
    assert page.work["densenet_onnx", "", "samples"] == 3
    assert page.latency["densenet_onnx", "end_to_end_latency"] == Histogram({}, 3, pytest.approx(1.327965))
    assert page.latency["densenet_onnx", "queue_time"].sum_seconds == pytest.approx(145e-6)
    assert page.gauges["simple", "queue_depth"] == 0


@pytest.mark.parametrize("old_names", [False, True])
@pytest.mark.parametrize("kind", ["vllm", "sglang", "nim", "tgi"])
def test_old_and_new_names_of_an_engine_tell_the_same_work_and_latency(kind, old_names):
    page = read(scripted(kind, old_names=old_names))
    expected = {"requests": 3, "input_tokens": 300, "output_tokens": 33}
    assert page.engine == kind
    assert work_of(page) == expected | ({"cached_tokens": 120} if kind in {"vllm", "sglang"} else {})
    found = {name: (each.count, round(each.sum_seconds, 6)) for (_, name), each in page.latency.items()}
    assert found["time_per_output_token"] == (30, 0.6)
    assert found["end_to_end_latency"] == (3, 0.84)
    assert found.get("time_to_first_token", (3, 0.24)) == (3, 0.24)


@pytest.mark.parametrize("kind", ["vllm", "tgi", "llamacpp"])
def test_prefill_and_decode_time_are_told_where_the_engine_knows_them(kind):
    spent_ns = {phase: each for (_, phase), each in phase_ns(read(scripted(kind))).items()}
    assert spent_ns == {"prefill": pytest.approx(180_000_000, abs=1), "decode": pytest.approx(600_000_000, abs=1)}


@pytest.mark.parametrize("kind", ["vllm", "sglang", "nim", "tgi", "llamacpp"])
def test_queue_and_running_requests_are_gauges_of_one_name(kind):
    gauges = {name: value for (_, name), value in read(scripted(kind)).gauges.items()}
    assert (gauges["queue_depth"], gauges["running"]) == (5, 2)


def test_triton_tells_milliseconds_as_seconds():
    first = read(scripted("triton")).latency["m", "time_to_first_token"]
    assert first.sum_seconds == pytest.approx(0.24)
    assert {bound: count for bound, count in first.buckets.items() if count} == {
        0.1: 3, 0.5: 3, 1.0: 3, 5.0: 3, 30.0: 3, math.inf: 3
    }  # fmt: skip


def test_llamacpp_counts_only_the_prompt_tokens_that_it_processed():
    page = read(scripted("llamacpp"), default_model="qwen.gguf")
    assert page.work["qwen.gguf", "", "input_tokens"] == 180
    assert not page.cached_within_input
    assert page.work["qwen.gguf", "", "output_tokens"] == 33


@pytest.mark.parametrize("kind", [names.engine for names in ENGINES])
def test_each_engine_is_known_by_its_names_alone(kind):
    assert [names.engine for names in detect_engines(scripted(kind))] == [kind]


def test_no_name_that_an_engine_reads_is_read_as_another_engines():
    owners = {}
    for names in ENGINES:
        for name in names.sample_names:
            owners.setdefault(name, []).append(names.engine)
    assert {name: engines for name, engines in owners.items() if len(engines) > 1} == {}


def test_triton_that_hosts_vllm_counts_each_model_once():
    page = read(
        'vllm:prompt_tokens_total{model="llm",version="1"} 70\n'
        'vllm:request_success_total{finished_reason="stop",model="llm"} 4\n'
        'nv_inference_request_success{model="llm",version="1"} 9\n'
        'nv_inference_request_success{model="resnet",version="1"} 6\n'
    )
    assert page.engine == "vllm"
    assert page.work["llm", "", "requests"] == 4
    assert page.work["resnet", "", "requests"] == 6


def test_work_of_several_engines_and_finish_reasons_adds_up_and_their_fullest_cache_counts():
    page = read(
        'vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 4\n'
        'vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 1\n'
        'vllm:request_success_total{engine="1",finished_reason="stop",model_name="m"} 2\n'
        'vllm:num_requests_running{engine="0",model_name="m"} 3\n'
        'vllm:num_requests_running{engine="1",model_name="m"} 4\n'
        'vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.5\n'
        'vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.75\n'
    )
    assert page.work == {("m", "", "requests"): 7}
    assert page.gauges == {("m", "running"): 7, ("m", "kv_cache_usage"): 0.75}


def test_tensor_parallel_ranks_that_tell_the_same_count_once_but_data_parallel_ones_each():
    page = read(
        "".join(
            f'sglang:num_running_reqs{{dp_rank="{dp}",model_name="m",pp_rank="0",tp_rank="{tp}"}} {5 + dp}\n'
            for dp in (0, 1)
            for tp in (2 * dp, 2 * dp + 1)
        )
    )
    assert page.gauges == {("m", "running"): 11}


def test_models_of_one_page_stand_apart():
    page = read('vllm:prompt_tokens_total{model_name="a"} 1\nvllm:prompt_tokens_total{model_name="b"} 2\n')
    assert page.work == {("a", "", "input_tokens"): 1, ("b", "", "input_tokens"): 2}


def test_the_model_label_can_be_configured():
    page = read('vllm:prompt_tokens_total{lora="x",model_name="m"} 1\n', model_labels=("lora",))
    assert page.work == {("x", "", "input_tokens"): 1}


TENANTS = "".join(
    f'vllm:prompt_tokens_total{{model_name="m",user="{user}"}} {10**power}\n' for power, user in enumerate("abc")
)


def test_work_is_told_by_tenant_where_a_label_is_configured():
    page = read(TENANTS, TenantCap(9), tenant_label="user")
    assert page.work == {("m", "a", "input_tokens"): 1, ("m", "b", "input_tokens"): 10, ("m", "c", "input_tokens"): 100}


def test_without_a_tenant_label_tenants_are_one():
    assert read(TENANTS).work == {("m", "", "input_tokens"): 111}


def test_tenants_beyond_the_cap_are_one_and_those_named_first_stay_named():
    cap = TenantCap(1)
    read('vllm:prompt_tokens_total{model_name="m",user="c"} 1\n', cap, tenant_label="user")
    page = read(TENANTS, cap, tenant_label="user")
    assert page.work == {("m", "c", "input_tokens"): 100, ("m", "__other__", "input_tokens"): 11}


def test_a_mapping_serves_any_page_and_the_first_counter_of_a_kind_counts():
    names = mapped_names({"train_samples_total": "samples", "old_samples": "samples", "train_steps_total": "steps"})
    page = read(
        "train_samples_total 512\nold_samples 511\ntrain_steps_total 4\n", engines=(names,), default_model="run"
    )
    assert page.engine == "mapping"
    assert page.work == {("run", "", "samples"): 512, ("run", "", "steps"): 4}


def test_nan_is_absent():
    page = read('vllm:num_requests_running{model_name="m"} NaN\nvllm:prompt_tokens_total{model_name="m"} 1\n')
    assert page.gauges == {}


def test_a_histogram_without_its_count_is_absent():
    page = read('vllm:time_to_first_token_seconds_sum{model_name="m"} 3\nvllm:num_requests_running 1\n')
    assert page.latency == {}


@pytest.mark.parametrize("value", ["-1", "+Inf"])
def test_a_counter_that_cannot_be_one_refuses_its_page(value):
    with pytest.raises(PageRefused, match=r"prompt_tokens_total is .*; a counter has to be finite and zero or more"):
        read(f"vllm:prompt_tokens_total {value}\n")


@pytest.mark.parametrize("labels", ["", '{le="many"}', '{le="NaN"}'])
def test_a_bucket_without_a_bound_refuses_its_page(labels):
    name = "vllm:time_to_first_token_seconds"
    with pytest.raises(PageRefused, match="a bound has to be a number"):
        read(f"{name}_sum 1\n{name}_count 1\n{name}_bucket{labels} 1\n")


def test_a_page_of_no_known_engine_says_what_to_do():
    with pytest.raises(EngineUnknown, match="correct its address, or map its counters"):
        read("go_goroutines 12\n")


def test_a_page_of_another_engine_than_the_one_named_is_told():
    with pytest.raises(EngineUnknown, match="this is the page of sglang, not of vllm"):
        read("sglang:num_running_reqs 1\n", engines=(BY_NAME["vllm"],))


@pytest.mark.parametrize("text", ["", "\n", "python_info 1\n"])
def test_an_engine_that_was_named_may_have_nothing_to_tell_yet(text):
    assert read(text, engines=(BY_NAME["tgi"],)).work == {}


def test_a_page_of_two_hundred_thousand_series_is_refused():
    series = "".join(f'vllm:prompt_tokens_total{{model_name="{number}"}} 1\n' for number in range(200_000))
    with pytest.raises(PageRefused, match="more than 20000 mapped samples"):
        read(series)


def test_a_model_name_that_is_no_utf8_refuses_its_page():
    with pytest.raises(PageRefused, match="is not UTF-8"):
        read(b'vllm:prompt_tokens_total{model_name="\xff"} 1\n')


def test_a_long_model_name_is_cut():
    ((model, _, _),) = read(f'vllm:prompt_tokens_total{{model_name="{"x" * 500}"}} 1\n').work
    assert model == "x" * 200
