"""The metrics of serving and training: work, latency, and what they cost in money and energy.

The economic gauges cover a sliding window and are there only for a holder that bears its models alone; where several
holders bear one, recording rules divide the sums of the counters.
"""

from exporters.metric import HOLDER, Metric, counter, gauge, histogram, info

_MODEL = ("model", HOLDER)


WORK = counter(
    "work_total",
    "",
    ("kind", *_MODEL),
    "Work done, by kind; a token counts once, input_tokens are without cached_tokens where the engine tells those.",
)
TENANT_WORK = counter(
    "tenant_work_total", "", ("tenant", "kind", *_MODEL), "Work done for each tenant, where pages name tenants."
)
TENANT_LIST_COST = counter(
    "tenant_list_cost_usd_total",
    "usd",
    ("tenant", HOLDER),
    "A tenant's part of its holder's list cost, by weighed tokens; without a tenant: while nobody asked.",
)
PHASE_SECONDS = counter(
    "serving_phase_seconds_total",
    "seconds",
    ("phase", *_MODEL),
    "The engine's own time of prefill and of decode, added up over requests; their ratio divides cost.",
)
TIME_TO_FIRST_TOKEN = histogram(
    "time_to_first_token_seconds", "seconds", _MODEL, "Time from a request's arrival to its first output token."
)
TIME_PER_OUTPUT_TOKEN = histogram(
    "time_per_output_token_seconds", "seconds", _MODEL, "Time between two output tokens of a request."
)
END_TO_END_LATENCY = histogram(
    "end_to_end_latency_seconds", "seconds", _MODEL, "Time from a request's arrival to its end."
)
QUEUE_DEPTH = gauge("queue_depth", "", _MODEL, "Requests that wait, as the engine last told.")
RUNNING_REQUESTS = gauge(
    "running_requests", "", _MODEL, "Requests that are being worked on, as the engine last told.", group="engine"
)
KV_CACHE_USAGE = gauge(
    "kv_cache_usage_ratio", "ratio", _MODEL, "Used part of the key-value cache of the fullest engine.", group="engine"
)
TARGET_UP = gauge(
    "serving_target_up", "", ("target", HOLDER), "1 when the page was read and understood at the last attempt, else 0."
)
TARGET_INFO = info(
    "serving_target_info", ("target", "engine", HOLDER), "By which engine's names a page is read.", group="engine"
)
WORK_GROUP_INFO = info(
    "work_group_info", (HOLDER, "work_group"), "Holders that bear one model together; rules add them up by it."
)
COST_PER_REQUEST = gauge(
    "cost_per_request_usd", "usd", _MODEL, "List cost of the window by its requests, idle time included."
)
COST_PER_INPUT = gauge(
    "cost_per_million_input_tokens_usd",
    "usd",
    _MODEL,
    "List cost per million input tokens worked out: by prefill time where the engine tells it, else by weight.",
)
COST_PER_OUTPUT = gauge(
    "cost_per_million_output_tokens_usd",
    "usd",
    _MODEL,
    "List cost per million output tokens: by decode time where the engine tells it, else by weight.",
)
COST_WITHIN_OBJECTIVE = gauge(
    "cost_per_million_tokens_within_objective_usd",
    "usd",
    ("objective", *_MODEL),
    "List cost per million tokens, cached ones too, of the requests that met a latency objective.",
)
JOULES_PER_REQUEST = gauge("joules_per_request", "", _MODEL, "Energy of the window by its requests.")
JOULES_PER_OUTPUT_TOKEN = gauge("joules_per_output_token", "", _MODEL, "All energy of the window by its output tokens.")
JOULES_PER_TOTAL_TOKEN = gauge(
    "joules_per_total_token", "", _MODEL, "All energy of the window by its input, cached and output tokens."
)
WORK_PER_JOULE = gauge(
    "work_per_joule",
    "",
    ("kind", *_MODEL),
    "Work of the window by its energy, by kind.",
    group="efficiency",
    details=("requests", "input_tokens", "cached_tokens"),
)
FLOP_PER_JOULE_ESTIMATE = gauge(
    "flop_per_joule_estimate",
    "",
    (HOLDER,),
    "Estimate: tensor activity times the chip's published dense 16-bit peak, by energy.",
    group="efficiency",
    stands_in_for="work_per_joule",
)

LATENCIES = {
    "time_to_first_token": TIME_TO_FIRST_TOKEN,
    "time_per_output_token": TIME_PER_OUTPUT_TOKEN,
    "end_to_end_latency": END_TO_END_LATENCY,
}
"""By the name that the journal has for them."""

ALL: tuple[Metric, ...] = (
    WORK,
    TENANT_WORK,
    TENANT_LIST_COST,
    PHASE_SECONDS,
    TIME_TO_FIRST_TOKEN,
    TIME_PER_OUTPUT_TOKEN,
    END_TO_END_LATENCY,
    QUEUE_DEPTH,
    RUNNING_REQUESTS,
    KV_CACHE_USAGE,
    TARGET_UP,
    TARGET_INFO,
    WORK_GROUP_INFO,
    COST_PER_REQUEST,
    COST_PER_INPUT,
    COST_PER_OUTPUT,
    COST_WITHIN_OBJECTIVE,
    JOULES_PER_REQUEST,
    JOULES_PER_OUTPUT_TOKEN,
    JOULES_PER_TOTAL_TOKEN,
    WORK_PER_JOULE,
    FLOP_PER_JOULE_ESTIMATE,
)
