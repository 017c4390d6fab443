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
LEDGER_BILLS_WAITING = gauge(
    "ledger_bills_waiting",
    "",
    (),
    "Deliveries of bills that are not all there, so that nothing of them is booked yet.",
    of_fleet=True,
)
LEDGER_PRICES_REFUSED = gauge(
    "ledger_prices_refused",
    "",
    (),
    "Prices of the cloud's list that cannot be, or that it does not have; the former ones stay.",
    of_fleet=True,
)
COST_EXPLORER_REQUESTS = gauge(
    "cost_explorer_requests", "", (), "Requests to AWS Cost Explorer in this UTC day; each costs money.", of_fleet=True
)
COST_EXPLORER_COST = gauge(
    "cost_explorer_cost_usd",
    "usd",
    (),
    "What the requests to AWS Cost Explorer of this UTC day cost.",
    of_fleet=True,
)
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
BUDGET_AMOUNT = gauge("budget_usd", "usd", _BUDGET, "What may be spent in this month.", of_fleet=True)
BUDGET_SPENT = gauge(
    "budget_spent_usd", "usd", _BUDGET, "Spent in this month; absent where nothing of it is known.", of_fleet=True
)
BUDGET_BURN = gauge(
    "budget_burn_usd_per_day", "usd_per_day", _BUDGET, "Spent a day, mean of the last booked days.", of_fleet=True
)
BUDGET_STATE = gauge(
    "budget_state",
    "",
    ("budget", "state"),
    "1 for how the budget stands, else 0; state is ok, at_risk, over or unknown.",
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

SCHEDULE_DOWN = gauge(
    "schedule_workloads_down", "", ("namespace", "kind"), "Workloads that a schedule has put down.", of_fleet=True
)
SCHEDULE_GPUS_DOWN = gauge(
    "schedule_gpus_down", "", ("namespace",), "GPUs that workloads held which are down now.", of_fleet=True
)
SCHEDULE_COMING_BACK = gauge(
    "schedule_workloads_coming_back",
    "",
    (),
    "Workloads whose down is over and that are not Ready again, restores that cannot be written yet among them.",
    of_fleet=True,
)
SCHEDULE_CONTESTED = gauge(
    "schedule_workloads_contested",
    "",
    ("namespace",),
    "Workloads left alone until their window ends, since somebody put them back twice.",
    of_fleet=True,
)
SCHEDULE_SKIPPED = gauge(
    "schedule_workloads_skipped",
    "",
    ("reason",),
    "Workloads that should be down and are left as they are; reason is the guard, what is not understood, or refused.",
    of_fleet=True,
)
SCHEDULE_WAITING = gauge(
    "schedule_workloads_waiting",
    "",
    (),
    "Workloads whose down waits: for the cap on changes, the breaker or the ledger.",
    of_fleet=True,
)
SCHEDULE_DRY_RUN = gauge(
    "schedule_dry_run", "", ("policy",), "1 when the policy only says what it would do, else 0.", of_fleet=True
)
SCHEDULE_POLICIES_UP = gauge(
    "schedule_policies_up",
    "",
    (),
    "1 when the policies as they stand are in force, 0 when they are refused and the last good ones are.",
    of_fleet=True,
)
SCHEDULE_BREAKER_OPEN = gauge(
    "schedule_breaker_open",
    "",
    (),
    "1 while no workload is put down, since the API server fails or what is known is old, else 0.",
    of_fleet=True,
)
SCHEDULE_LOOK_AGE = gauge(
    "schedule_look_age_seconds", "seconds", (), "Time since the cluster was last looked at.", of_fleet=True
)
SCHEDULE_RESTORES_OVERDUE = gauge(
    "schedule_restores_overdue",
    "",
    ("reason",),
    "Workloads that should be Ready again; reason is no capacity, image, quota, refused or other.",
    of_fleet=True,
)
SCHEDULE_RESTORE_OVERDUE = gauge(
    "schedule_restore_overdue_seconds",
    "seconds",
    (),
    "For how long the restore that is longest overdue should be Ready.",
    of_fleet=True,
)
SCHEDULE_READY_DELAY = gauge(
    "schedule_ready_delay_seconds",
    "seconds",
    ("policy",),
    "Slowest workload of the policy's last window: Ready after the window's end; below zero is before it.",
    of_fleet=True,
)
SCHEDULE_WRITES = counter(
    "schedule_writes_total",
    "",
    ("action", "result"),
    "Writes of schedules: done (or found to be, later), conflict, gone, forbidden, refused or unknown.",
    of_fleet=True,
)
SCHEDULE_FREED_GPU = gauge(
    "schedule_freed_gpu_seconds",
    "seconds",
    ("window",),
    "GPU time by the books that workloads would have held had they stayed, less what they held all the same.",
    of_fleet=True,
)
SCHEDULE_FREED_USD = gauge(
    "schedule_freed_usd",
    "usd",
    ("window", "basis"),
    "What the freed GPU time is worth at the price of before, billed or, as an estimate, list; no saving.",
    of_fleet=True,
)
SCHEDULE_SAVED_USD = gauge(
    "schedule_saved_usd",
    "usd",
    ("window", "basis"),
    "Saved in cash: freed GPU time whose node had ended, or that others then held; at list price it is an estimate.",
    of_fleet=True,
)
SCHEDULE_UNMEASURED = gauge(
    "schedule_downs_unmeasured",
    "",
    ("window",),
    "Downs whose saving is not known: put off, unpriced, or nothing is booked of the hour before.",
    of_fleet=True,
)
SCHEDULE_AUDIT_WAITING = gauge(
    "schedule_audit_rows_waiting", "", (), "Audit rows in memory that the ledger has not taken yet.", of_fleet=True
)
SCHEDULE_AUDIT_LOST = counter(
    "schedule_audit_rows_lost_total", "", (), "Audit rows that no place was left for, in this process.", of_fleet=True
)
SCHEDULE_EVENTS_LOST = counter(
    "schedule_events_lost_total",
    "",
    (),
    "Kubernetes Events that were not written, in this process; nothing waits for them.",
    of_fleet=True,
)

ALL: tuple[Metric, ...] = (
    LEDGER_COST,
    LEDGER_LAST_CLOSED,
    LEDGER_LAG,
    LEDGER_PROVISIONAL,
    LEDGER_JOURNALS_REFUSED,
    LEDGER_BILLS_REFUSED,
    LEDGER_BILLS_WAITING,
    LEDGER_PRICES_REFUSED,
    COST_EXPLORER_REQUESTS,
    COST_EXPLORER_COST,
    LEDGER_VARIANCE,
    LEDGER_LAW_BREAKS,
    BUDGET_USED,
    BUDGET_FORECAST,
    BUDGET_AMOUNT,
    BUDGET_SPENT,
    BUDGET_BURN,
    BUDGET_STATE,
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
    SCHEDULE_DOWN,
    SCHEDULE_GPUS_DOWN,
    SCHEDULE_COMING_BACK,
    SCHEDULE_CONTESTED,
    SCHEDULE_SKIPPED,
    SCHEDULE_WAITING,
    SCHEDULE_DRY_RUN,
    SCHEDULE_POLICIES_UP,
    SCHEDULE_BREAKER_OPEN,
    SCHEDULE_LOOK_AGE,
    SCHEDULE_RESTORES_OVERDUE,
    SCHEDULE_RESTORE_OVERDUE,
    SCHEDULE_READY_DELAY,
    SCHEDULE_WRITES,
    SCHEDULE_FREED_GPU,
    SCHEDULE_FREED_USD,
    SCHEDULE_SAVED_USD,
    SCHEDULE_UNMEASURED,
    SCHEDULE_AUDIT_WAITING,
    SCHEDULE_AUDIT_LOST,
    SCHEDULE_EVENTS_LOST,
)
