"""The controller's metrics from what it knows of itself; nothing is read to answer a scrape."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from fractions import Fraction

from controller.claim import NAME as CLAIM
from controller.quota_report import QuotaFacts, quota_name
from controller.scaling.families import ScalingFamilies
from controller.scaling.stand import ScalingStand
from controller.status import BooksFacts, Stand, Standing
from exporters import catalogue_agent
from exporters import catalogue_controller as catalogue
from exporters.exposition import Family, SeriesCache
from exporters.metric import Metric
from ledger.budgets import STATES, BudgetState
from ledger.quotas import QuotaUse, TeamQuota

_SIMULATED = replace(catalogue_agent.SIMULATED, of_fleet=True)
"""The agents' word, said of the fleet."""
Rows = list[tuple[tuple[str, ...], int | float | None]]


@dataclass(slots=True)
class ControllerFamilies:
    """What `/metrics` shows."""

    stand: Stand
    scaling: Callable[[], ScalingStand | None] = field(default=lambda: None)
    """How schedules stand; ``None``: there are none."""
    _of_scaling: ScalingFamilies = field(default_factory=ScalingFamilies)
    _series: dict[Metric, SeriesCache] = field(default_factory=dict[Metric, SeriesCache])

    def generation(self) -> Hashable:
        """Changes with each round of any job, and with leadership."""
        now = self.stand()
        runs = tuple(health.runs for health in now.jobs.values())
        looked = now.facts and now.facts.looked_at, now.quotas and now.quotas.window, now.breaks is None
        scaling = self.scaling()
        return now.leads, now.epoch, runs, looked, now.cost_explorer, scaling and scaling.looked_at

    def metrics(self) -> Sequence[Family]:
        """The families now."""
        now = self.stand()
        quotas = [] if now.quotas is None else self._of_quotas(now.quotas)
        scaling = self.scaling()
        schedules = [] if scaling is None else self._of_scaling.metrics(scaling)
        return [*self._of_books(now), *quotas, *self._of_cost_explorer(now), *self._of_jobs(now), *schedules]

    def _of_books(self, now: Standing) -> list[Family]:
        facts = now.facts
        if facts is None:
            return []
        closed = facts.last_closed
        amounts: Mapping[Metric, Mapping[tuple[str, ...], int]] = {
            catalogue.LEDGER_COST: facts.costs,
            catalogue.LEDGER_VARIANCE: facts.variances,
        }
        return [
            *(self._of(metric).exact_family(sorted(found.items())) for metric, found in amounts.items()),
            self._one(catalogue.LEDGER_LAST_CLOSED, None if closed is None else closed.timestamp()),
            self._one(catalogue.LEDGER_LAG, None if closed is None else _seconds(now.now, closed)),
            self._one(catalogue.LEDGER_PROVISIONAL, facts.provisional),
            self._one(catalogue.LEDGER_BILLS_REFUSED, len(facts.bills_refused)),
            self._of(catalogue.LEDGER_LAW_BREAKS).family([((law,), n) for law, n in (now.breaks or {}).items()]),
            *self._of_budgets(facts),
        ]

    def _of_quotas(self, quotas: QuotaFacts) -> list[Family]:
        named = [((use.kind, quota_name(use), use.resource), use) for use in quotas.uses]
        return [
            self._of(catalogue.QUOTA_GPUS).family([row for key, use in named for row in _counts(key, use)]),
            self._of(catalogue.QUOTA_HELD).family([row for key, use in named for row in _ratios(key, use)]),
            self._of(catalogue.TEAM_QUOTA_GPUS).family([row for t in quotas.teams for row in _counts((t.team,), t)]),
            self._of(catalogue.TEAM_QUOTA_HELD).family([row for t in quotas.teams for row in _ratios((t.team,), t)]),
        ]

    def _of_budgets(self, facts: BooksFacts) -> list[Family]:
        used: Rows = [((state.name,), state.spent_ratio) for state in facts.budgets]
        bounds: Rows = [row for state in facts.budgets for row in _bounds(state)]
        return [
            self._of(catalogue.BUDGET_USED).family(used),
            self._of(catalogue.BUDGET_FORECAST).family(bounds),
            *(
                self._of(metric).exact_family([((name,), nano) for name, nano in amounts if nano is not None])
                for metric, amounts in _amounts(facts.budgets).items()
            ),
            self._of(catalogue.BUDGET_STATE).family(
                [((each.name, state), int(each.state == state)) for each in facts.budgets for state in STATES]
            ),
        ]

    def _of_cost_explorer(self, now: Standing) -> list[Family]:
        spent = now.cost_explorer
        if spent is None:
            return []
        return [
            self._one(catalogue.COST_EXPLORER_REQUESTS, spent.requests),
            self._one(catalogue.COST_EXPLORER_COST, float(spent.cost_usd)),
        ]

    def _of_jobs(self, now: Standing) -> list[Family]:
        jobs, gathered = now.jobs, now.gathered
        agents: Rows = [(("answering",), gathered.answering), (("silent",), len(gathered.silent))]
        ages: Rows = [
            ((name,), _seconds(now.machine_now, each.succeeded_at))
            for name, each in jobs.items()
            if each.succeeded_at is not None and name != CLAIM  # which is made once, and grows no staler
        ]
        tried = {name: each for name, each in jobs.items() if each.runs}
        leads = now.leads
        return [
            self._of(catalogue.AGENTS).family(agents if "pull" in tried else []),
            self._one(catalogue.LEDGER_JOURNALS_REFUSED, len(gathered.refused) if "pull" in tried else None),
            self._one(catalogue.LEDGER_BILLS_WAITING, None if now.bills_waiting is None else len(now.bills_waiting)),
            self._one(catalogue.LEDGER_PRICES_REFUSED, None if now.prices_refused is None else len(now.prices_refused)),
            self._of(catalogue.JOB_AGE).family(ages),
            self._of(catalogue.JOB_DURATION).family([((name,), each.seconds) for name, each in jobs.items()]),
            self._of(catalogue.JOB_UP).family([((name,), int(not each.error)) for name, each in tried.items()]),
            self._of(catalogue.JOB_RUNS).family([((name,), each.runs) for name, each in jobs.items()]),
            self._of(catalogue.JOB_FAILURES).family([((name,), each.failures) for name, each in jobs.items()]),
            self._one(catalogue.LEADER, int(leads)),
            self._one(catalogue.EPOCH, now.epoch),
            self._one(_SIMULATED, int(now.simulated)),
        ]

    def _of(self, metric: Metric) -> SeriesCache:
        if metric not in self._series:
            self._series[metric] = SeriesCache(metric, "")
        return self._series[metric]

    def _one(self, metric: Metric, value: float | None) -> Family:
        return self._of(metric).family([((), value)])


def _amounts(budgets: Sequence[BudgetState]) -> Mapping[Metric, list[tuple[str, int | None]]]:
    return {
        catalogue.BUDGET_AMOUNT: [(each.name, each.budget_nano_usd) for each in budgets],
        catalogue.BUDGET_SPENT: [(each.name, each.spent_nano_usd) for each in budgets],
        catalogue.BUDGET_BURN: [(each.name, each.burn_nano_usd_per_day) for each in budgets],
    }


def _bounds(state: BudgetState) -> Rows:
    forecast = state.forecast
    if forecast is None:
        return []
    told = {
        "expected": forecast.nano_usd,
        "low": forecast.low_nano_usd,
        "high": forecast.high_nano_usd,
    }
    return [((state.name, bound), float(Fraction(nano, state.budget_nano_usd))) for bound, nano in told.items()]


def _counts(key: tuple[str, ...], quota: QuotaUse | TeamQuota) -> Rows:
    return [((*key, "granted"), quota.granted), ((*key, "used"), quota.used_now)]


def _ratios(key: tuple[str, ...], quota: QuotaUse | TeamQuota) -> Rows:
    room, told = quota.granted_ns, {"held": quota.held_ns, "active": quota.active_ns}
    return [((*key, state), ns / room) for state, ns in told.items() if room and ns is not None]


def _seconds(now: datetime, then: datetime) -> float:
    return (now - then).total_seconds()
