"""What each serving engine calls its counters: one table per engine, old and new names side by side.

Owns the names and their way to the canonical kinds of work, gauges and latencies; reads nothing. Of several names of
one thing the first that a page bears counts, in the order declared here, and the others are left alone: they say the
same thing twice. Adding an engine is adding one table to :data:`ENGINES`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

WorkKind = Literal["requests", "input_tokens", "cached_tokens", "output_tokens", "images", "steps", "samples"]
"""What is counted. ``samples`` of a Triton page are its inferences: a batch of eight is eight."""
GaugeName = Literal["queue_depth", "running", "kv_cache_usage"]
LatencyName = Literal["time_to_first_token", "time_per_output_token", "end_to_end_latency", "queue_time"]
Phase = Literal["prefill", "decode"]
EngineName = Literal["vllm", "sglang", "tgi", "llamacpp", "nim", "triton"]

DEFAULT_MODEL_LABELS = ("model_name", "model", "model_id")
START_TIME = "process_start_time_seconds"
"""Told by the Prometheus clients of most engines; proves a restart even where no counter fell."""


@dataclass(frozen=True, slots=True)
class Source:
    """One sample name, without the engine's prefix, that may tell a value."""

    name: str
    where: tuple[str, str] | None = None
    """A label and the value that it must have for a sample to count."""
    scale: float = 1.0
    """Factor to the canonical unit: seconds, or one."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram's name without prefix and suffix, or a pair of counters that tell its sum and its count."""

    name: str = ""
    scale: float = 1.0
    sum_name: str = ""
    count_name: str = ""

    @property
    def parts(self) -> tuple[str, str, str]:
        """The names of its buckets (empty where it has none), its sum and its count."""
        if self.name:
            return f"{self.name}_bucket", f"{self.name}_sum", f"{self.name}_count"
        return "", self.sum_name, self.count_name


@dataclass(frozen=True, slots=True)
class EngineNames:
    """The table of one engine."""

    engine: str
    prefixes: tuple[str, ...]
    """Spellings of the prefix of all names, the newest first."""
    signature: tuple[bytes, ...]
    """Beginnings of lines that only this engine's page has."""
    work: Mapping[WorkKind, tuple[Source, ...]]
    gauges: Mapping[GaugeName, tuple[Source, ...]] = field(default_factory=dict[GaugeName, tuple[Source, ...]])
    latency: Mapping[LatencyName, tuple[Distribution, ...]] = field(
        default_factory=dict[LatencyName, tuple[Distribution, ...]]
    )
    phases: Mapping[Phase, tuple[Source, ...]] = field(default_factory=dict[Phase, tuple[Source, ...]])
    """Cumulative seconds of prefill and decode. Their ratio divides cost; their sum is no wall-clock time, since
    several engines add up the seconds of requests that ran at once."""
    cached_within_input: bool = False
    """Whether the engine counts a cached prompt token among its input tokens too."""

    sample_names: frozenset[str] = field(init=False)
    """Every sample name that the table reads, with each prefix."""

    def __post_init__(self) -> None:
        sources = [*self.work.values(), *self.gauges.values(), *self.phases.values()]
        bare = {source.name for group in sources for source in group}
        bare |= {part for group in self.latency.values() for each in group for part in each.parts if part}
        object.__setattr__(self, "sample_names", frozenset(prefix + name for prefix in self.prefixes for name in bare))


def _sources(*names: str) -> tuple[Source, ...]:
    return tuple(Source(name) for name in names)


def _distributions(*names: str) -> tuple[Distribution, ...]:
    return tuple(Distribution(name) for name in names)


# github.com/vllm-project/vllm: vllm/v1/metrics/loggers.py. Under Ray Serve the colon becomes an underscore.
# gpu_prefix_cache_hits_total is left out: it counted blocks before it counted tokens, under one name.
# request_time_per_output_token_seconds is one mean per request, so its sum is no decode time; request_decode_... is.
VLLM = EngineNames(
    engine="vllm",
    prefixes=("vllm:", "ray_vllm_", "ray_vllm:"),
    signature=(b"vllm:", b"ray_vllm_", b"ray_vllm:"),
    work={
        "requests": _sources("request_success_total"),
        "input_tokens": _sources("prompt_tokens_total", "request_prompt_tokens_sum"),
        "cached_tokens": _sources("prompt_tokens_cached_total", "prefix_cache_hits_total"),
        "output_tokens": _sources("generation_tokens_total", "request_generation_tokens_sum"),
    },
    gauges={
        "queue_depth": _sources("num_requests_waiting"),
        "running": _sources("num_requests_running"),
        "kv_cache_usage": _sources("kv_cache_usage_perc", "gpu_cache_usage_perc"),
    },
    latency={
        "time_to_first_token": _distributions("time_to_first_token_seconds"),
        "time_per_output_token": _distributions(
            "inter_token_latency_seconds", "time_per_output_token_seconds", "request_time_per_output_token_seconds"
        ),
        "end_to_end_latency": _distributions("e2e_request_latency_seconds"),
        "queue_time": _distributions("request_queue_time_seconds"),
    },
    phases={
        "prefill": _sources("request_prefill_time_seconds_sum"),
        "decode": _sources("request_decode_time_seconds_sum"),
    },
    cached_within_input=True,
)

# github.com/sgl-project/sglang: docs on production metrics; collector.py. Both prefixes have been seen.
SGLANG = EngineNames(
    engine="sglang",
    prefixes=("sglang:", "sglang_"),
    signature=(b"sglang:", b"sglang_"),
    work={
        "requests": _sources("num_requests_total"),
        "input_tokens": _sources("prompt_tokens_total", "prompt_tokens_histogram_sum"),
        "cached_tokens": _sources("cached_tokens_total"),
        "output_tokens": _sources("generation_tokens_total", "generation_tokens_histogram_sum"),
    },
    gauges={
        "queue_depth": _sources("num_queue_reqs"),
        "running": _sources("num_running_reqs"),
        "kv_cache_usage": _sources("token_usage"),
    },
    latency={
        "time_to_first_token": _distributions("time_to_first_token_seconds"),
        "time_per_output_token": _distributions("inter_token_latency_seconds", "time_per_output_token_seconds"),
        "end_to_end_latency": _distributions("e2e_request_latency_seconds"),
        "queue_time": _distributions("queue_time_seconds"),
    },
    cached_within_input=True,
)

# github.com/huggingface/text-generation-inference: docs/source/reference/metrics.md. Durations are in seconds.
TGI = EngineNames(
    engine="tgi",
    prefixes=("tgi_",),
    signature=(b"tgi_",),
    work={
        "requests": _sources("request_success", "request_count"),
        "input_tokens": _sources("request_input_length_sum"),
        "output_tokens": _sources("request_generated_tokens_sum"),
    },
    gauges={"queue_depth": _sources("queue_size"), "running": _sources("batch_current_size")},
    latency={
        "time_per_output_token": _distributions("request_mean_time_per_token_duration"),
        "end_to_end_latency": _distributions("request_duration"),
        "queue_time": _distributions("request_queue_duration"),
    },
    phases={
        "prefill": (Source("batch_inference_duration_sum", ("method", "prefill")),),
        "decode": (Source("batch_inference_duration_sum", ("method", "decode")),),
    },
)

# github.com/ggml-org/llama.cpp: tools/server. Its prompt tokens are those processed, so without the cached ones.
LLAMACPP = EngineNames(
    engine="llamacpp",
    prefixes=("llamacpp:",),
    signature=(b"llamacpp:",),
    work={
        "input_tokens": _sources("prompt_tokens_total"),
        "output_tokens": _sources("tokens_predicted_total"),
        "steps": _sources("n_decode_total"),
    },
    gauges={
        "queue_depth": _sources("requests_deferred"),
        "running": _sources("requests_processing"),
        "kv_cache_usage": _sources("kv_cache_usage_ratio"),
    },
    phases={
        "prefill": _sources("prompt_seconds_total"),
        "decode": _sources("tokens_predicted_seconds_total"),
    },
)

# docs.nvidia.com/nim/large-language-models: observability. Its names bear no prefix, so two of them tell the page;
# where a NIM lets vLLM's or Triton's own names through, their tables read them.
NIM = EngineNames(
    engine="nim",
    prefixes=("",),
    signature=(b"num_request_max{", b"num_request_max ", b"gpu_cache_usage_perc{", b"gpu_cache_usage_perc "),
    work={
        "requests": _sources("request_success_total", "request_finish_total"),
        "input_tokens": _sources("prompt_tokens_total", "request_prompt_tokens_sum"),
        "output_tokens": _sources("generation_tokens_total", "request_generation_tokens_sum"),
    },
    gauges={
        "queue_depth": _sources("num_requests_waiting"),
        "running": _sources("num_requests_running"),
        "kv_cache_usage": _sources("gpu_cache_usage_perc"),
    },
    latency={
        "time_to_first_token": _distributions("time_to_first_token_seconds"),
        "time_per_output_token": _distributions("time_per_output_token_seconds"),
        "end_to_end_latency": _distributions("e2e_request_latency_seconds"),
    },
)

# github.com/triton-inference-server: docs/user_guide/metrics.md, tensorrtllm_backend. An ensemble's requests stand at
# the ensemble and at each of its models. First response is first token for decoupled (streaming) models.
TRITON = EngineNames(
    engine="triton",
    prefixes=("nv_",),
    signature=(b"nv_inference_", b"nv_trt_llm_"),
    work={
        "requests": _sources("inference_request_success"),
        "samples": _sources("inference_count"),
        "steps": _sources("inference_exec_count"),
    },
    gauges={
        "queue_depth": (
            Source("trt_llm_request_metrics", ("request_type", "waiting")),
            Source("inference_pending_request_count"),
        ),
        "running": (Source("trt_llm_request_metrics", ("request_type", "scheduled")),),
        "kv_cache_usage": (Source("trt_llm_kv_cache_block_metrics", ("kv_cache_block_type", "fraction")),),
    },
    latency={
        "time_to_first_token": (Distribution("inference_first_response_histogram_ms", scale=1e-3),),
        "end_to_end_latency": (
            Distribution(sum_name="inference_request_duration_us", count_name="inference_request_success", scale=1e-6),
        ),
        "queue_time": (
            Distribution(sum_name="inference_queue_duration_us", count_name="inference_request_success", scale=1e-6),
        ),
    },
)

ENGINES: tuple[EngineNames, ...] = (VLLM, SGLANG, TGI, LLAMACPP, NIM, TRITON)
"""In the order in which they count where one page has several: Triton last, as it hosts others."""
BY_NAME: Mapping[str, EngineNames] = {names.engine: names for names in ENGINES}


def detect_engines(page: bytes) -> tuple[EngineNames, ...]:
    """The engines whose names stand on a page, told by the beginnings of its lines; none where nobody is known."""
    return tuple(names for names in ENGINES if any(_starts_a_line(page, start) for start in names.signature))


def _starts_a_line(page: bytes, start: bytes) -> bool:
    return page.startswith(start) or b"\n" + start in page


def mapped_names(mapping: Mapping[str, WorkKind]) -> EngineNames:
    """The table of a page that the configuration maps: full counter name to kind, the first of a kind first."""
    work: dict[WorkKind, tuple[Source, ...]] = {}
    for name, kind in mapping.items():
        work[kind] = (*work.get(kind, ()), Source(name))
    return EngineNames("mapping", ("",), (), work)
