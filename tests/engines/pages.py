"""The metrics pages of serving engines, in each one's own names: newer and older ones, written as the engine does."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tests.engines.load import BOUNDS_SECONDS, Observed, Totals

KINDS = ("vllm", "sglang", "tgi", "llamacpp", "nim", "triton", "training")


@dataclass(frozen=True)
class PageState:
    """What a page is to say."""

    model: str
    tenants: Mapping[str, Totals]
    running: int = 0
    waiting: int = 0
    kv_cache_usage: float = 0.0
    start_time_seconds: float = 1.75e9
    old_names: bool = False
    tenant_label: str = "user"

    @property
    def all(self) -> Totals:
        together = Totals()
        for each in self.tenants.values():
            for name in (
                "requests",
                "input_tokens",
                "cached_tokens",
                "output_tokens",
                "prefill_seconds",
                "decode_seconds",
            ):
                setattr(together, name, getattr(together, name) + getattr(each, name))
            for name in ("first_token", "per_token", "end_to_end", "queue"):
                into, one = getattr(together, name), getattr(each, name)
                into.counts = [a + b for a, b in zip(into.counts, one.counts, strict=True)]
                into.count, into.sum = into.count + one.count, into.sum + one.sum
        return together


def render(kind: str, state: PageState) -> str:
    """The page of an engine, as text of format 0.0.4."""
    return "\n".join(_PAGES[kind](state)) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    text = ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
    return f"{{{text}}}" if text else ""


def _metric(kind: str, name: str, labels: Mapping[str, str], value: float) -> Iterable[str]:
    yield f"# HELP {name} {name}"
    yield f"# TYPE {name} {kind}"
    yield f"{name}{_labels(labels)} {value!r}"


def _histogram(name: str, labels: Mapping[str, str], observed: Observed, scale: float = 1.0) -> Iterable[str]:
    yield f"# HELP {name} {name}"
    yield f"# TYPE {name} histogram"
    bounds = [*(repr(bound * scale) for bound in BOUNDS_SECONDS), "+Inf"]
    for bound, count in zip(bounds, observed.counts, strict=True):
        yield f"{name}_bucket{_labels({**labels, 'le': bound})} {float(count)!r}"
    yield f"{name}_count{_labels(labels)} {float(observed.count)!r}"
    yield f"{name}_sum{_labels(labels)} {observed.sum * scale!r}"


def _process(state: PageState) -> Iterable[str]:
    yield from _metric("gauge", "process_start_time_seconds", {}, state.start_time_seconds)


def _by_tenant(state: PageState, name: str, field: str, labels: Mapping[str, str]) -> Iterable[str]:
    yield f"# TYPE {name} counter"
    for tenant, totals in state.tenants.items():
        own = {**labels, state.tenant_label: tenant} if tenant else labels
        yield f"{name}{_labels(own)} {float(getattr(totals, field))!r}"


def _vllm(state: PageState) -> Iterable[str]:
    labels, total = {"model_name": state.model, "engine": "0"}, state.all
    if state.old_names:
        del labels["engine"]
    yield from _process(state)
    yield from _metric("gauge", "vllm:num_requests_running", labels, float(state.running))
    yield from _metric("gauge", "vllm:num_requests_waiting", labels, float(state.waiting))
    usage = "vllm:gpu_cache_usage_perc" if state.old_names else "vllm:kv_cache_usage_perc"
    yield from _metric("gauge", usage, labels, state.kv_cache_usage)
    yield from _by_tenant(state, "vllm:prompt_tokens_total", "input_tokens", labels)
    yield from _by_tenant(state, "vllm:generation_tokens_total", "output_tokens", labels)
    cached = "vllm:prefix_cache_hits_total" if state.old_names else "vllm:prompt_tokens_cached_total"
    yield from _by_tenant(state, cached, "cached_tokens", labels)
    yield from _by_tenant(state, "vllm:request_success_total", "requests", {**labels, "finished_reason": "stop"})
    per_token = "vllm:time_per_output_token_seconds" if state.old_names else "vllm:inter_token_latency_seconds"
    yield from _histogram("vllm:time_to_first_token_seconds", labels, total.first_token)
    yield from _histogram(per_token, labels, total.per_token)
    yield from _histogram("vllm:e2e_request_latency_seconds", labels, total.end_to_end)
    yield from _histogram("vllm:request_queue_time_seconds", labels, total.queue)
    yield from _metric("counter", "vllm:request_prefill_time_seconds_sum", labels, total.prefill_seconds)
    yield from _metric("counter", "vllm:request_decode_time_seconds_sum", labels, total.decode_seconds)


def _sglang(state: PageState) -> Iterable[str]:
    prefix = "sglang_" if state.old_names else "sglang:"
    labels, total = {"model_name": state.model}, state.all
    scheduler = {**labels, "engine_type": "unified", "tp_rank": "0", "pp_rank": "0"}
    yield from _metric("gauge", f"{prefix}num_running_reqs", scheduler, float(state.running))
    yield from _metric("gauge", f"{prefix}num_queue_reqs", scheduler, float(state.waiting))
    yield from _metric("gauge", f"{prefix}token_usage", scheduler, state.kv_cache_usage)
    if not total.requests:
        return
    yield from _by_tenant(state, f"{prefix}prompt_tokens_total", "input_tokens", labels)
    yield from _by_tenant(state, f"{prefix}generation_tokens_total", "output_tokens", labels)
    yield from _by_tenant(state, f"{prefix}cached_tokens_total", "cached_tokens", {**labels, "cache_source": "device"})
    yield from _by_tenant(state, f"{prefix}num_requests_total", "requests", labels)
    per_token = "time_per_output_token_seconds" if state.old_names else "inter_token_latency_seconds"
    yield from _histogram(f"{prefix}time_to_first_token_seconds", labels, total.first_token)
    yield from _histogram(f"{prefix}{per_token}", labels, total.per_token)
    yield from _histogram(f"{prefix}e2e_request_latency_seconds", labels, total.end_to_end)
    yield from _histogram(f"{prefix}queue_time_seconds", scheduler, total.queue)


def _tgi(state: PageState) -> Iterable[str]:
    total = state.all
    yield from _metric("gauge", "tgi_queue_size", {}, float(state.waiting))
    yield from _metric("gauge", "tgi_batch_current_size", {}, float(state.running))
    if not total.requests:
        return
    yield from _metric("counter", "tgi_request_count", {}, total.requests)
    yield from _metric("counter", "tgi_request_success", {}, total.requests)
    for name, amount in (("input_length", total.input_tokens), ("generated_tokens", total.output_tokens)):
        yield f"# TYPE tgi_request_{name} histogram"
        yield f'tgi_request_{name}_bucket{{le="+Inf"}} {total.requests}'
        yield f"tgi_request_{name}_sum {amount}"
        yield f"tgi_request_{name}_count {total.requests}"
    yield from _histogram("tgi_request_mean_time_per_token_duration", {}, total.per_token)
    yield from _histogram("tgi_request_duration", {}, total.end_to_end)
    yield from _histogram("tgi_request_queue_duration", {}, total.queue)
    for method, seconds in (("prefill", total.prefill_seconds), ("decode", total.decode_seconds)):
        yield f'tgi_batch_inference_duration_sum{{method="{method}"}} {seconds!r}'
        yield f'tgi_batch_inference_duration_count{{method="{method}"}} {total.requests}'


def _llamacpp(state: PageState) -> Iterable[str]:
    total = state.all
    yield from _metric("counter", "llamacpp:prompt_tokens_total", {}, total.input_tokens - total.cached_tokens)
    yield from _metric("counter", "llamacpp:prompt_seconds_total", {}, total.prefill_seconds)
    yield from _metric("counter", "llamacpp:tokens_predicted_total", {}, total.output_tokens)
    yield from _metric("counter", "llamacpp:tokens_predicted_seconds_total", {}, total.decode_seconds)
    yield from _metric("counter", "llamacpp:n_decode_total", {}, total.output_tokens)
    yield from _metric("gauge", "llamacpp:requests_processing", {}, state.running)
    yield from _metric("gauge", "llamacpp:requests_deferred", {}, state.waiting)
    if state.old_names:
        yield from _metric("gauge", "llamacpp:kv_cache_usage_ratio", {}, state.kv_cache_usage)


def _nim(state: PageState) -> Iterable[str]:
    labels, total = {"model_name": state.model}, state.all
    yield from _process(state)
    yield from _metric("gauge", "num_requests_running", labels, float(state.running))
    yield from _metric("gauge", "num_requests_waiting", labels, float(state.waiting))
    yield from _metric("gauge", "num_request_max", labels, 64.0)
    yield from _metric("gauge", "gpu_cache_usage_perc", labels, state.kv_cache_usage)
    yield from _metric("counter", "prompt_tokens_total", labels, float(total.input_tokens))
    yield from _metric("counter", "generation_tokens_total", labels, float(total.output_tokens))
    yield from _metric("counter", "request_finish_total", {**labels, "finished_reason": "stop"}, float(total.requests))
    yield from _metric("counter", "request_success_total", labels, float(total.requests))
    yield from _histogram("time_to_first_token_seconds", labels, total.first_token)
    yield from _histogram("time_per_output_token_seconds", labels, total.per_token)
    yield from _histogram("e2e_request_latency_seconds", labels, total.end_to_end)


def _triton(state: PageState) -> Iterable[str]:
    labels, total = {"model": state.model, "version": "1"}, state.all
    for name in ("request_success", "count", "exec_count"):
        yield from _metric("counter", f"nv_inference_{name}", labels, total.requests)
    yield from _metric("counter", "nv_inference_request_duration_us", labels, round(total.end_to_end.sum * 1e6))
    yield from _metric("counter", "nv_inference_queue_duration_us", labels, round(total.queue.sum * 1e6))
    yield from _metric("gauge", "nv_inference_pending_request_count", labels, state.waiting)
    if not state.old_names:
        yield from _histogram("nv_inference_first_response_histogram_ms", labels, total.first_token, 1000.0)


def _training(state: PageState) -> Iterable[str]:
    """A training job of somebody's own: one request is one step, its output tokens are samples."""
    total = state.all
    yield from _metric("counter", "train_steps_total", {}, total.requests)
    yield from _metric("counter", "train_samples_total", {}, total.output_tokens)


_PAGES: Mapping[str, Callable[[PageState], Iterable[str]]] = {
    "vllm": _vllm,
    "sglang": _sglang,
    "tgi": _tgi,
    "llamacpp": _llamacpp,
    "nim": _nim,
    "triton": _triton,
    "training": _training,
}
