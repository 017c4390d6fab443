"""How much CPU reading a serving engine's metrics page costs, beside the parsers of prometheus-client.

Run ``python benchmarks/parser.py``. It builds its own page in the manner of vLLM (counters, gauges, histograms, several
engines and models) in both text formats, checks that all readers give the same values, and times them in turn.
It fails when the quick reader, with every name of a 200 kB page mapped, costs over a fifth of the peer's text parser.
"""

import gc
import os
import platform
import statistics
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from prometheus_client.parser import text_string_to_metric_families as text_families

from collectors.openmetrics import parse_mapped
from collectors.openmetrics_strict import parse_strict

# The peer's OpenMetrics parser bears no types.
openmetrics_families: Callable[[str], Iterable[object]] = import_module(
    "prometheus_client.openmetrics.parser"
).text_string_to_metric_families

PAGE_BYTES = (20_000, 200_000, 2_000_000)
GATE_BYTES = 200_000
GATE_RATIO = 1 / 5
RUNS = 7
BOUNDS = (*(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 40.0), "+Inf")
GAUGES = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "engine_sleep_state")
COUNTERS = ("prompt_tokens", "generation_tokens", "request_success", "num_preemptions", "prefix_cache_hits")
HISTOGRAMS = (
    "time_to_first_token_seconds",
    "inter_token_latency_seconds",
    "e2e_request_latency_seconds",
    "request_queue_time_seconds",
    "request_prefill_time_seconds",
    "request_decode_time_seconds",
    "request_prompt_tokens",
    "request_generation_tokens",
)
MAPPED = (
    *(f"vllm:{name}" for name in GAUGES[:3]),
    *(f"vllm:{name}_total" for name in COUNTERS),
    *(f"vllm:{name}{suffix}" for name in HISTOGRAMS[:3] for suffix in ("_bucket", "_sum", "_count")),
)


def family_lines(name: str, kind: str, engines: int, *, openmetrics: bool) -> Iterator[str]:
    family = f"vllm:{name}" if openmetrics or kind != "counter" else f"vllm:{name}_total"
    yield f"# HELP {family} What the engine counts as {name.replace('_', ' ')}."
    yield f"# TYPE {family} {kind}"
    for engine in range(engines):
        labels = f'engine="{engine}",model_name="example-org/Model-{engine % 7}-70B-Instruct"'
        if kind == "counter":
            yield f"vllm:{name}_total{{{labels}}} {engine * 7919 + 104_729}.0"
        elif kind == "gauge":
            yield f"vllm:{name}{{{labels}}} {engine / 7}"
        else:
            for place, bound in enumerate(BOUNDS):
                yield f'vllm:{name}_bucket{{le="{bound}",{labels}}} {place * (engine + 3)}.0'
            count = (len(BOUNDS) - 1) * (engine + 3)
            yield f"vllm:{name}_count{{{labels}}} {count}.0"
            yield f"vllm:{name}_sum{{{labels}}} {count * 0.31326723098754883}"


def build_page(size_bytes: int, *, openmetrics: bool) -> bytes:
    """A page of about ``size_bytes``: as many engines as fit."""

    def page(engines: int) -> bytes:
        kinds = [("gauge", GAUGES), ("counter", COUNTERS), ("histogram", HISTOGRAMS)]
        lines = [
            line
            for kind, names in kinds
            for name in names
            for line in family_lines(name, kind, engines, openmetrics=openmetrics)
        ]
        return ("\n".join([*lines, *(["# EOF"] if openmetrics else [])]) + "\n").encode()

    one, two = len(page(1)), len(page(2))
    return page(max(1, 1 + (size_bytes - one) // (two - one)))


def values(samples: Iterator[tuple[str, dict[str, str], float]]) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {(name, frozenset(labels.items())): value for name, labels, value in samples}


def check_same_values(text: bytes, openmetrics: bytes, names: set[str]) -> int:
    """How many samples the page has; all readers must give the same."""
    peer = values((s.name, s.labels, s.value) for f in text_families(text.decode()) for s in f.samples)
    quick = values((s.name, dict(s.labels), s.value) for s in parse_mapped(text, names).samples)
    strict = values((s.name, dict(s.labels), s.value) for f in parse_strict(openmetrics) for s in f.samples)
    if not peer or not peer == quick == strict:
        sys.exit("the readers disagree on the page")
    return len(peer)


def cpu_ms(read: Callable[[], object]) -> float:
    gc.collect()
    start = time.process_time_ns()
    read()
    return (time.process_time_ns() - start) / 1e6


def drain(families: Iterable[object]) -> None:
    for _ in families:
        pass


def measure(size_bytes: int, runs: int) -> tuple[int, int, dict[str, float]]:
    """Bytes, samples, and the median CPU milliseconds by reader; the readers take turns in each run."""
    text, openmetrics = (build_page(size_bytes, openmetrics=flag) for flag in (False, True))
    text_str, openmetrics_str = text.decode(), openmetrics.decode()
    lines = [line for line in text_str.splitlines() if not line.startswith("#")]
    names = {line.partition("{")[0] for line in lines}
    readers: dict[str, Callable[[], object]] = {
        f"ours, quick, {len(MAPPED)} of {len(names)} names mapped": lambda: parse_mapped(text, MAPPED),
        "ours, quick, every name mapped": lambda: parse_mapped(text, names),
        "ours, strict (OpenMetrics)": lambda: parse_strict(openmetrics),
        "prometheus-client, text": lambda: drain(text_families(text_str)),
        "prometheus-client, OpenMetrics": lambda: drain(openmetrics_families(openmetrics_str)),
    }
    samples = check_same_values(text, openmetrics, names)
    times: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(runs):
        for name, read in readers.items():
            times[name].append(cpu_ms(read))
    return len(text), samples, {name: statistics.median(measured) for name, measured in times.items()}


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="runs per reader and page; the median counts")
    runs: int = parser.parse_args().runs
    print(f"{os.cpu_count()} CPUs, {platform.machine()}, Python {platform.python_version()}, ", end="")
    print(f"prometheus-client {version('prometheus-client')}; CPU ms, median of {runs} runs")
    results = {size: measure(size, runs) for size in PAGE_BYTES}
    width = max(len(name) for name in results[GATE_BYTES][2])
    heads = [f"{size / 1000:.0f} kB, {samples}" for size, samples, _ in results.values()]
    print(f"{'page, samples':{width}}  " + "  ".join(f"{head:>16}" for head in heads))
    for row in zip(*(medians.items() for _, _, medians in results.values()), strict=True):
        print(f"{row[0][0]:{width}}  " + "  ".join(f"{milliseconds:16.2f}" for _, milliseconds in row))
    medians = results[GATE_BYTES][2]
    ratio = medians["ours, quick, every name mapped"] / medians["prometheus-client, text"]
    print(f"quick by peer at {GATE_BYTES // 1000} kB, every name mapped: {ratio:.3f} (at most {GATE_RATIO:.3f})")
    if ratio > GATE_RATIO:
        sys.exit("the quick reader costs over its share of the peer's parser")


if __name__ == "__main__":
    main()
