"""The reference of metrics in markdown, written from the catalogue; ``docs/metrics.md`` is its output."""

from collections.abc import Iterable

from exporters.catalogue import GROUPS
from exporters.metric import HOLDER, HOST_HOLDER_LABELS, KUBERNETES_HOLDER_LABELS, Metric

_INTRODUCTION = f"""\
# Metrics

What `/metrics` serves. Every series bears `node`; the tables leave it out. *holder* stands for
{", ".join(f"`{label}`" for label in KUBERNETES_HOLDER_LABELS)} in Kubernetes and for
{", ".join(f"`{label}`" for label in HOST_HOLDER_LABELS)} elsewhere. `mig` is the UUID of a MIG instance and empty for a
whole device. What was not measured has no series: never a zero, never the last good value.

Written by `wattledger metrics --markdown`; change `exporters/catalogue*.py` instead.
"""


def render_markdown() -> str:
    """The whole page, ending in a newline."""
    sections = [f"## {title}\n\n{_table(metrics)}" for title, metrics in GROUPS]
    return "\n".join([_INTRODUCTION, *sections])


def _table(metrics: Iterable[Metric]) -> str:
    head = "| metric | type | labels | what it says | since |\n| --- | --- | --- | --- | --- |\n"
    return head + "".join(_row(metric) for metric in metrics)


def _row(metric: Metric) -> str:
    labels = ", ".join("*holder*" if label == HOLDER else f"`{label}`" for label in metric.labels)
    text = metric.help.replace("|", "\\|")
    return f"| `{metric.name}` | {metric.kind} | {labels} | {text} | {metric.since} |\n"
