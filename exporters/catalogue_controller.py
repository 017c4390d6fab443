"""The metrics of the controller: what the books say of the whole fleet, and how the controller itself fares.

They bear no ``node``: the books are of all nodes together.
"""

from exporters.metric import Metric, counter, gauge

_JOB = ("job",)
_BUDGET = ("budget",)


LEDGER_COST = gauge(
    "ledger_cost_usd",
    "usd",
    ("basis", "window", "team", "workload"),
    "Cost by the books over a window up to now; what nobody held has a workload such as __idle__.",
    of_fleet=True,
)
LEDGER_LAST_CLOSED = gauge(
    "ledger_last_closed_timestamp_seconds",
    "seconds",
    (),
    "End of the newest hour that is final for every node, as a Unix time.",
    of_fleet=True,
)
LEDGER_LAG = gauge(
    "ledger_lag_seconds", "seconds", (), "Time since the end of the newest hour that is final.", of_fleet=True
)
LEDGER_PROVISIONAL = gauge(
    "ledger_provisional_entries",
    "",
    (),
    "Node-hours of the last 14 days that no closed journal stands behind; open hours are among them.",
    of_fleet=True,
)
LEDGER_JOURNALS_REFUSED = gauge(
    "ledger_journals_refused",
    "",
    (),
    "Hours of agents' journals that cannot be true and are not booked.",
    of_fleet=True,
)
LEDGER_BILLS_REFUSED = gauge("ledger_bills_refused", "", (), "Bills that are refused, whole.", of_fleet=True)
LEDGER_VARIANCE = gauge(
    "ledger_variance_usd",
    "usd",
    ("window", "reason"),
    "Effective less list cost of the node-hours that a bill has come for, by its reason.",
    of_fleet=True,
)
LEDGER_LAW_BREAKS = gauge(
    "ledger_law_breaks",
    "",
    ("law",),
    "Places of the last closed day where a law of the books does not hold.",
    of_fleet=True,
)
BUDGET_USED = gauge("budget_used_ratio", "ratio", _BUDGET, "Spent in this month, over the budget.", of_fleet=True)
BUDGET_FORECAST = gauge(
    "budget_forecast_ratio",
    "ratio",
    ("budget", "bound"),
    "The month's whole cost as it is expected, over the budget; bound is expected, low or high.",
    of_fleet=True,
)
QUOTA_GPUS = gauge(
    "quota_gpus",
    "",
    ("kind", "quota", "resource", "state"),
    "A GPU quota of the cluster, as the cluster says; state is granted or used.",
    of_fleet=True,
)
QUOTA_HELD = gauge(
    "quota_held_ratio",
    "ratio",
    ("kind", "quota", "resource", "state"),
    "GPU time by the books over what the quota gave room for in 7 days; state is held or active.",
    of_fleet=True,
)
TEAM_QUOTA_GPUS = gauge(
    "team_quota_gpus",
    "",
    ("team", "state"),
    "Whole GPUs by quotas of namespaces that are one team's own; state is granted or used.",
    of_fleet=True,
)
TEAM_QUOTA_HELD = gauge(
    "team_quota_held_ratio",
    "ratio",
    ("team", "state"),
    "A team's GPU time by the books over what its quotas gave room for in 7 days; state is held or active.",
    of_fleet=True,
)
AGENTS = gauge("agents", "", ("state",), "Agents of the last pull; state is answering or silent.", of_fleet=True)
JOB_AGE = gauge("job_age_seconds", "seconds", _JOB, "Time since the job last succeeded in this process.", of_fleet=True)
JOB_DURATION = gauge("job_duration_seconds", "seconds", _JOB, "How long the job's last run took.", of_fleet=True)
JOB_UP = gauge("job_up", "", _JOB, "1 when the job's last run succeeded, else 0.", of_fleet=True)
JOB_RUNS = counter("job_runs_total", "", _JOB, "Runs of the job in this process.", of_fleet=True)
JOB_FAILURES = counter("job_failures_total", "", _JOB, "Runs of the job that failed, in this process.", of_fleet=True)
LEADER = gauge(
    "controller_leader", "", (), "1 when this controller keeps the books, 0 when it stands by.", of_fleet=True
)
EPOCH = gauge("controller_epoch", "", (), "The leadership epoch that this controller writes under.", of_fleet=True)

ALL: tuple[Metric, ...] = (
    LEDGER_COST,
    LEDGER_LAST_CLOSED,
    LEDGER_LAG,
    LEDGER_PROVISIONAL,
    LEDGER_JOURNALS_REFUSED,
    LEDGER_BILLS_REFUSED,
    LEDGER_VARIANCE,
    LEDGER_LAW_BREAKS,
    BUDGET_USED,
    BUDGET_FORECAST,
    QUOTA_GPUS,
    QUOTA_HELD,
    TEAM_QUOTA_GPUS,
    TEAM_QUOTA_HELD,
    AGENTS,
    JOB_AGE,
    JOB_DURATION,
    JOB_UP,
    JOB_RUNS,
    JOB_FAILURES,
    LEADER,
    EPOCH,
)
