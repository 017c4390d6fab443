"""The metrics of the books: time, energy and list cost by account and holder, prices, and who holds what.

For each ``gpu_uuid`` the account series add up to the device's control figures at every scrape.
"""

from exporters.metric import HOLDER, Metric, counter, gauge, info

_DEVICE = ("gpu_uuid",)
_HELD_PART = ("gpu_uuid", "mig", HOLDER)


GPU_ACCOUNTED_SECONDS = counter(
    "gpu_accounted_seconds_total",
    "seconds",
    _DEVICE,
    "Time of the device that the books cover: the control figure of account_gpu_seconds.",
)
GPU_ENERGY = counter(
    "gpu_energy_joules_total",
    "joules",
    _DEVICE,
    "Energy by the device's own counter: the control figure of account_energy_joules.",
)
GPU_LIST_COST = counter(
    "gpu_list_cost_usd_total",
    "usd",
    _DEVICE,
    "List price of the accounted time: the control figure of account_list_cost_usd.",
)
ACCOUNT_GPU_SECONDS = counter(
    "account_gpu_seconds_total",
    "seconds",
    ("gpu_uuid", "mig", "account", "method", HOLDER),
    "Whole-GPU time by account and holder, and by the method that attributed it.",
)
ACCOUNT_ENERGY = counter(
    "account_energy_joules_total",
    "joules",
    ("gpu_uuid", "mig", "account", HOLDER),
    "Energy by account and holder.",
)
ACCOUNT_LIST_COST = counter(
    "account_list_cost_usd_total",
    "usd",
    ("gpu_uuid", "mig", "account", HOLDER),
    "Cost at list price by account and holder; an estimate until a bill is reconciled.",
)
PRICE = gauge(
    "price_usd_per_hour",
    "usd_per_hour",
    ("gpu_uuid", "price_source", "capacity_type"),
    "The price in force for one hour of the device.",
)
PRICE_AGE = gauge("price_age_seconds", "seconds", _DEVICE, "Age of the price in force, since its source published it.")
PRICE_ESTIMATE = gauge(
    "price_estimate",
    "",
    _DEVICE,
    "1 when the price in force is an estimate and not that of this node's type, else 0.",
)
UTILIZATION_GAP = gauge(
    "utilization_gap_ratio",
    "ratio",
    (HOLDER,),
    "The part of the holder's measured GPU time that was idle: held, and not active.",
)
UTILIZATION_GAP_COST = counter(
    "utilization_gap_usd_total", "usd", (HOLDER,), "List cost of the holder's idle time: held, and not active."
)
HOLDER_INFO = info(
    "holder_info",
    (HOLDER, "workload", "team", "environment", "pod_uid"),
    "Who a holder is: workload, team, environment and the installation's own dimensions.",
)
HOLDER_SHARE = gauge(
    "holder_share_ratio",
    "ratio",
    ("gpu_uuid", "mig", "share", HOLDER),
    "A holder's part of the device in the last sweep; share is used (measured) or requested.",
    group="sharing",
    details=("used",),
)
HOLDER_MEMORY = gauge(
    "holder_memory_used_bytes",
    "bytes",
    _HELD_PART,
    "Device memory that the holder's processes occupy.",
    group="sharing",
)
HOLDER_CPU_SECONDS = counter(
    "holder_cpu_seconds_total",
    "seconds",
    (HOLDER,),
    "CPU time of the holder, from its control group.",
    group="host_use",
)
HOLDER_IO_BYTES = counter(
    "holder_io_bytes_total",
    "bytes",
    (HOLDER, "direction"),
    "Bytes that the holder read and wrote on block devices, from its control group.",
    group="host_use",
)
SERIES_FOLDED = gauge(
    "series_folded_holders",
    "",
    ("family",),
    'Holders folded into "__other__" to keep a family within its cap; the journal keeps each.',
)

ALL: tuple[Metric, ...] = (
    GPU_ACCOUNTED_SECONDS,
    GPU_ENERGY,
    GPU_LIST_COST,
    ACCOUNT_GPU_SECONDS,
    ACCOUNT_ENERGY,
    ACCOUNT_LIST_COST,
    PRICE,
    PRICE_AGE,
    PRICE_ESTIMATE,
    UTILIZATION_GAP,
    UTILIZATION_GAP_COST,
    HOLDER_INFO,
    HOLDER_SHARE,
    HOLDER_MEMORY,
    HOLDER_CPU_SECONDS,
    HOLDER_IO_BYTES,
    SERIES_FOLDED,
)
