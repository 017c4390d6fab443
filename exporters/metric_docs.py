"""The reference of metrics in markdown, written from the catalogue; ``docs/metrics.md`` is its output."""

from collections.abc import Iterable

from exporters.catalogue import GROUPS
from exporters.metric import HOLDER, HOST_HOLDER_LABELS, KUBERNETES_HOLDER_LABELS, PREFIX, Metric
from exporters.metric_choice import GROUPS as CHOICES

_INTRODUCTION = f"""\
# Metrics

What `/metrics` serves: the agent's, and in the last table the controller's. Every series of an agent bears `node`,
which the tables leave out; the controller's are of the whole fleet and bear none. *holder* stands for
{", ".join(f"`{label}`" for label in KUBERNETES_HOLDER_LABELS)} in Kubernetes and for
{", ".join(f"`{label}`" for label in HOST_HOLDER_LABELS)} elsewhere. `mig` is the UUID of a MIG instance and empty for a
whole device. What was not measured has no series: never a zero, never the last good value.

Written by `wattledger metrics --markdown`; change `exporters/catalogue*.py` instead.
"""


_CHOICE = """\
## Standard series, and groups of more

The standard series are those that most people look at: at most 40 for a device or MIG instance and 25 for a holder
of one device that serves one model, histograms apart. More come only with what is not everyday: an XID or an
implausible reading, further accounts, methods or models, tenants, latency objectives.

`metrics.groups` in the configuration adds groups, `[all]` every one of them. The column *shown* names the group of
a metric, or of some values of its label: of `wattledger_gpu_clock_hertz`, for example, only `sm` is standard. Where a
device or a holder lacks what a metric *stands in for*, it is shown without its group; of the throttle reasons
`thermal` is, where the driver does not tell `sw_thermal` and `hw_thermal` apart. What is not shown is read and booked
all the same. `metrics.histograms` chooses the histograms.

| group | adds |
| --- | --- |
"""


def render_markdown() -> str:
    """The whole page, ending in a newline."""
    choice = _CHOICE + "".join(f"| `{group}` | {text} |\n" for group, text in CHOICES.items())
    sections = [f"## {title}\n\n{_table(metrics)}" for title, metrics in GROUPS]
    return "\n".join([_INTRODUCTION, choice, *sections])


def _table(metrics: Iterable[Metric]) -> str:
    head = "| metric | type | labels | what it says | shown | since |\n| --- | --- | --- | --- | --- | --- |\n"
    return head + "".join(_row(metric) for metric in metrics)


def _row(metric: Metric) -> str:
    labels = ", ".join("*holder*" if label == HOLDER else f"`{label}`" for label in metric.labels)
    text = metric.help.replace("|", "\\|")
    return f"| `{metric.name}` | {metric.kind} | {labels} | {text} | {_shown(metric)} | {metric.since} |\n"


def _shown(metric: Metric) -> str:
    if metric.group is None:
        return "standard"
    if metric.details:
        return f"standard; `{metric.group}` adds {', '.join(f'`{value}`' for value in metric.details)}"
    standing_in = f"; stands in for `{PREFIX}{metric.stands_in_for}`" if metric.stands_in_for else ""
    return f"`{metric.group}`{standing_in}"
