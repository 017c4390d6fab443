"""What a request, a token and a joule's worth of work cost a holder, over a sliding window. Pure arithmetic.

Owns the formulas, which docs/guides/economics.md explains. Where a denominator is zero the figure is absent: no work
means that nothing can be said of its cost, not that it was free or infinitely dear.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from agent.economics_settings import EconomicsSettings, Objective
from collectors.clock import NS_PER_SECOND
from ledger.hours import LatencySum
from ledger.price import numerator_usd

MILLION = 1_000_000
TOKENS = ("input_tokens", "cached_tokens", "output_tokens")
PHASES = ("prefill_ns", "decode_ns")

WorkOf = Mapping[tuple[str, str], int]
"""Work by model and kind, over all tenants."""
LatencyOf = Mapping[tuple[str, str], LatencySum]
"""Latency by model and name."""


@dataclass(frozen=True, slots=True)
class Point:
    """A holder's sums since the counters began, at the moment at which its pages were read."""

    at_ns: int
    cost_numerator: int | None
    energy_mj: int | None
    work: WorkOf = field(default_factory=dict[tuple[str, str], int])
    latency: LatencyOf = field(default_factory=dict[tuple[str, str], LatencySum])
    flop: int | None = None
    """Estimated floating-point operations; ``None`` where tensor activity or the chip's peak is not known."""


@dataclass(frozen=True, slots=True)
class ModelFigures:
    """One model of a holder. What cannot be said is ``None``, or missing from a mapping."""

    requests_per_second: float | None = None
    tokens_per_second: float | None = None
    """Output tokens."""
    cost_per_request_usd: float | None = None
    cost_per_million_input_tokens_usd: float | None = None
    cost_per_million_output_tokens_usd: float | None = None
    joules_per_request: float | None = None
    joules_per_output_token: float | None = None
    joules_per_total_token: float | None = None
    work_per_joule: Mapping[str, float] = field(default_factory=dict[str, float])
    within_objective_usd: Mapping[str, float] = field(default_factory=dict[str, float])
    """By objective: cost per million tokens of the requests that met it."""


@dataclass(frozen=True, slots=True)
class HolderFigures:
    """One holder over its window."""

    seconds: float
    models: Mapping[str, ModelFigures]
    flop_per_joule: float | None = None


@dataclass(slots=True)
class Window:
    """The last points of one holder."""

    points: deque[Point] = field(default_factory=deque[Point])

    def add(self, point: Point, length_ns: int) -> None:
        """Take a point in and drop those before the window; all of them where a sum began anew, came or went."""
        if self.points and _began_anew(self.points[-1], point):
            self.points.clear()
        self.points.append(point)
        while self.points[0].at_ns < point.at_ns - length_ns:
            self.points.popleft()

    def figures(self, settings: EconomicsSettings) -> HolderFigures | None:
        """What the window says; ``None`` while it has one point only."""
        first, last = self.points[0], self.points[-1]
        if last.at_ns <= first.at_ns:
            return None
        spent = _between(first, last)
        if any(point.flop is None for point in self.points):
            spent = replace(spent, flop=None)
        return figures(spent, settings)


def figures(spent: Point, settings: EconomicsSettings) -> HolderFigures:
    """The figures of what was spent and done in ``spent.at_ns`` nanoseconds."""
    seconds = spent.at_ns / NS_PER_SECOND
    usd = None if spent.cost_numerator is None else numerator_usd(spent.cost_numerator)
    joules = None if spent.energy_mj is None else spent.energy_mj / 1000
    models = {model: _of_model(spent.work, model) for model, _ in spent.work}
    models = {model: work for model, work in models.items() if work}
    shares = _shares(models, settings)
    return HolderFigures(
        seconds,
        {
            model: _model_figures(
                _Share(seconds, _times(usd, shares[model]), _times(joules, shares[model]), work),
                {name: latency for (of, name), latency in spent.latency.items() if of == model},
                settings,
            )
            for model, work in models.items()
        },
        None if spent.flop is None or not joules else spent.flop / joules,
    )


@dataclass(frozen=True, slots=True)
class _Share:
    """A model's part of what a holder spent and did."""

    seconds: float
    usd: float | None
    joules: float | None
    work: Mapping[str, int]


def _model_figures(share: _Share, latency: Mapping[str, LatencySum], settings: EconomicsSettings) -> ModelFigures:
    work, usd, joules = share.work, share.usd, share.joules
    tokens = sum(work.get(kind, 0) for kind in TOKENS)
    input_usd, output_usd = _token_costs(usd, work, settings)
    return ModelFigures(
        requests_per_second=_per(work.get("requests"), share.seconds),
        tokens_per_second=_per(work.get("output_tokens"), share.seconds),
        cost_per_request_usd=_per(usd, work.get("requests")),
        cost_per_million_input_tokens_usd=_times(input_usd, MILLION),
        cost_per_million_output_tokens_usd=_times(output_usd, MILLION),
        joules_per_request=_per(joules, work.get("requests")),
        joules_per_output_token=_per(joules, work.get("output_tokens")),
        joules_per_total_token=_per(joules, tokens),
        work_per_joule={kind: amount / joules for kind, amount in work.items() if kind not in PHASES and joules},
        within_objective_usd=_within_objectives(usd, tokens, latency, settings.objectives),
    )


def _token_costs(
    usd: float | None, work: Mapping[str, int], settings: EconomicsSettings
) -> tuple[float | None, float | None]:
    """Dollars of one input and of one output token.

    Their cost by the engine's own time of prefill and decode where it tells both, else by the documented weight;
    either way input, cached and output tokens together bear the whole.
    """
    fresh, cached, output = (work.get(kind, 0) for kind in TOKENS)
    inputs = fresh + cached * settings.cached_token_weight
    prefill, decode = (work.get(phase, 0) for phase in PHASES)
    if prefill and decode:
        whole = prefill + decode
        return (
            _per(_times(usd, prefill / whole), inputs if fresh else 0),
            _per(_times(usd, decode / whole), output),
        )
    one = _per(usd, inputs + output * settings.output_token_weight)
    return one if fresh else None, _times(one, settings.output_token_weight) if output else None


def _shares(models: Mapping[str, Mapping[str, int]], settings: EconomicsSettings) -> dict[str, float]:
    """Each model's part of the holder: by engine time where every model has it, else by tokens, else by requests."""
    phases = {model: _phase_weight(work) for model, work in models.items()}
    tokens = {model: _token_weight(work, settings) for model, work in models.items()}
    requests = {model: work.get("requests", 0) for model, work in models.items()}
    for weights in (phases if all(phases.values()) else {}, tokens, requests):
        if any(weights.values()):
            return {model: weight / sum(weights.values()) for model, weight in weights.items()}
    return {model: 1 / len(models) for model in models}


def _phase_weight(work: Mapping[str, int]) -> int:
    return sum(work.get(phase, 0) for phase in PHASES)


def _token_weight(work: Mapping[str, int], settings: EconomicsSettings) -> int:
    return sum(amount * settings.milli_weights.get(kind, 0) for kind, amount in work.items())


def _within_objectives(
    usd: float | None, tokens: int, latency: Mapping[str, LatencySum], objectives: Iterable[Objective]
) -> dict[str, float]:
    """Dollars per million tokens of the requests that met each objective, as if all requests had tokens alike."""
    found: dict[str, float] = {}
    for objective in objectives:
        met = met_ratio(latency.get(objective.latency), objective.seconds)
        cost = _times(_per(usd, tokens * (met or 0.0)), MILLION)
        if cost is not None:
            found[objective.name] = cost
    return found


def met_ratio(latency: LatencySum | None, seconds: float) -> float | None:
    """The part of the observations that lie at or below the highest bucket bound that is not above ``seconds``."""
    if latency is None or not latency.count:
        return None
    limit_ns = round(seconds * NS_PER_SECOND)
    bounds = [bound_ns for bound_ns in latency.buckets if bound_ns <= limit_ns]
    if not bounds:
        return None
    return sum(latency.buckets[bound_ns] for bound_ns in bounds) / latency.count


def _between(first: Point, last: Point) -> Point:
    work = {key: amount - first.work.get(key, 0) for key, amount in last.work.items()}
    return Point(
        last.at_ns - first.at_ns,
        _less(last.cost_numerator, first.cost_numerator),
        _less(last.energy_mj, first.energy_mj),
        {key: amount for key, amount in work.items() if amount},
        {key: _latency_between(first.latency.get(key), latency) for key, latency in last.latency.items()},
        _less(last.flop, first.flop),
    )


def _latency_between(first: LatencySum | None, last: LatencySum) -> LatencySum:
    if first is None:
        return last
    return LatencySum(
        last.count - first.count,
        last.sum_ns - first.sum_ns,
        {bound_ns: count - first.buckets.get(bound_ns, 0) for bound_ns, count in last.buckets.items()},
    )


def _began_anew(before: Point, now: Point) -> bool:
    sums = ((before.cost_numerator, now.cost_numerator), (before.energy_mj, now.energy_mj))
    if any((then is None) != (at is None) or (then or 0) > (at or 0) for then, at in sums):
        return True
    return any(amount > now.work.get(key, 0) for key, amount in before.work.items())


def _of_model(work: WorkOf, model: str) -> dict[str, int]:
    return {kind: amount for (of, kind), amount in work.items() if of == model}


def _less(last: int | None, first: int | None) -> int | None:
    return None if last is None or first is None else last - first


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _per(value: float | None, denominator: float | None) -> float | None:
    return None if value is None or not denominator else value / denominator
