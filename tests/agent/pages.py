"""Pages of serving engines for the agent's tests, built in one line."""

from collectors.clock import NS_PER_SECOND
from collectors.serving_page import EnginePage, Slot
from collectors.serving_poller import PollResult
from collectors.serving_targets import ServingTarget


def page(work, *, phases=(), latency=(), gauges=(), start=None, engine="vllm"):
    """``work``: {(model, tenant, kind): value}; ``latency``: {(model, name): {"sum", "count", bound...}}."""
    return EnginePage(
        engine,
        {key: Slot(f"{key[2]}_total", {repr(key): {"value": float(value)}}) for key, value in work.items()},
        {key: Slot(f"{key[1]}_seconds", {repr(key): {"value": float(value)}}) for key, value in dict(phases).items()},
        {key: Slot(f"{key[1]}_sum", {repr(key): dict(parts)}) for key, parts in dict(latency).items()},
        dict(gauges),
        start_time_seconds=start,
    )


def answer(seconds, made, *, key="http://h:8000/metrics", **target):
    return PollResult(ServingTarget(key, (key,), **target), round(seconds * NS_PER_SECOND), 1_000_000, made)


def silence(seconds, *, key="http://h:8000/metrics", error="it does not answer", **target):
    return PollResult(
        ServingTarget(key, (key,), **target), round(seconds * NS_PER_SECOND), 1_000_000, error=error, unknown=False
    )
