"""Recording rules of the economics of what several pods or nodes bear together: sum of cost by sum of work.

Owns their expressions. Cost and energy count for all holders of a group, those included that only burn; work counts
wherever a page told it. Labels of holders are joined from the info series, so that no edit of a label splits a counter.
The formulas are those of docs/guides/economics.md.
"""

from dataclasses import dataclass

from alerts.rule import Group, Record
from exporters import catalogue_books as books
from exporters import catalogue_work as work
from exporters.metric import KUBERNETES_HOLDER_LABELS, NODE, Metric

MILLION = "1e6"


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """What an installation may choose."""

    holder_labels: tuple[str, ...] = KUBERNETES_HOLDER_LABELS
    window: str = "5m"
    output_token_weight: float = 4.0
    cached_token_weight: float = 0.1


@dataclass(frozen=True, slots=True)
class Grouping:
    """By what holders are added up."""

    name: str
    info: Metric
    label: str
    """The info series' label that names the group."""
    by: tuple[str, ...]
    """Labels of the result."""


def groupings(settings: RuleSettings) -> tuple[Grouping, ...]:
    """Groups of pods that bear one model, and workloads of several replicas. Groups may span nodes."""
    within = tuple(label for label in settings.holder_labels if label == "namespace")
    return (
        Grouping("work_group", work.WORK_GROUP_INFO, "work_group", (*within, "work_group")),
        Grouping("workload", books.HOLDER_INFO, "workload", (*within, "workload")),
    )


def recording_groups(settings: RuleSettings) -> tuple[Group, ...]:
    """All rules."""
    return tuple(
        Group(f"wattledger-economics-{grouping.name.replace('_', '-')}", tuple(_rules(grouping, settings)))
        for grouping in groupings(settings)
    )


def _rules(grouping: Grouping, settings: RuleSettings) -> list[Record]:
    def named(name: str) -> str:
        return f"{grouping.name}:wattledger_{name}:rate{settings.window}"

    cost, joules, requests = named("list_cost_usd"), named("energy_joules"), named("requests")
    weighed = {kind: named(kind) for kind in ("input_tokens", "cached_tokens", "output_tokens")}
    phases = {phase: named(f"{phase}_seconds") for phase in ("prefill", "decode")}
    inputs, cached, output = weighed.values()
    weighed_inputs = _sum([inputs, f"{settings.cached_token_weight:g} * {cached}"])
    weighed_all = _sum(
        [inputs, f"{settings.cached_token_weight:g} * {cached}", f"{settings.output_token_weight:g} * {output}"]
    )
    by_weight = f"{MILLION} * {cost} / ({weighed_all} > 0)"
    prefill, decode = (f"{cost} * {phase} / ({phases['prefill']} + {phases['decode']})" for phase in phases.values())
    both = f"({phases['prefill']} > 0) + ({phases['decode']} > 0)"
    summed = [
        Record(cost, _grouped(books.ACCOUNT_LIST_COST, grouping, settings)),
        Record(joules, _grouped(books.ACCOUNT_ENERGY, grouping, settings)),
        Record(requests, _grouped(work.WORK, grouping, settings, 'kind="requests"')),
        *(Record(name, _grouped(work.WORK, grouping, settings, f'kind="{kind}"')) for kind, name in weighed.items()),
        *(
            Record(name, _grouped(work.PHASE_SECONDS, grouping, settings, f'phase="{phase}"'))
            for phase, name in phases.items()
        ),
    ]
    per = [
        Record(named("cost_per_request_usd"), f"{cost} / ({requests} > 0)"),
        Record(
            named("cost_per_million_input_tokens_usd"),
            f"(\n  {MILLION} * {prefill} / ({weighed_inputs} > 0) and {both}\n  or\n  {by_weight}\n)\nand {inputs} > 0",
        ),
        Record(
            named("cost_per_million_output_tokens_usd"),
            f"(\n  {MILLION} * {decode} / ({output} > 0) and {both}\n"
            f"  or\n  {settings.output_token_weight:g} * {by_weight}\n)\nand {output} > 0",
        ),
        Record(named("joules_per_request"), f"{joules} / ({requests} > 0)"),
        Record(named("joules_per_output_token"), f"{joules} / ({output} > 0)"),
        Record(named("joules_per_total_token"), f"{joules} / ({_sum([inputs, cached, output])} > 0)"),
    ]
    return [*summed, *per]


def _grouped(metric: Metric, grouping: Grouping, settings: RuleSettings, chosen: str = "") -> str:
    """The rate of a counter, added up over the holders of each group and over all nodes."""
    on = ", ".join(metric_labels(settings))
    selector = f"{{{chosen}}}" if chosen else ""
    return (
        f"sum by ({', '.join(grouping.by)}) (\n"
        f"  sum by ({on}) (rate({metric.name}{selector}[{settings.window}]))\n"
        f"  * on ({on}) group_left ({grouping.label})\n"
        f'  max by ({on}, {grouping.label}) ({grouping.info.name}{{{grouping.label}!=""}})\n'
        ")"
    )


def metric_labels(settings: RuleSettings) -> tuple[str, ...]:
    """What tells one holder of the fleet from all others."""
    return (NODE, *settings.holder_labels)


def _sum(names: list[str]) -> str:
    """A sum in which what is absent counts as nothing, as long as one part is there."""
    total = names[-1]
    for name in reversed(names[:-1]):
        total = f"({name} + ({total}) or {name} or {total})"
    return total
