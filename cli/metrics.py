"""`wattledger metrics`: the catalogue, for people, for the documentation, for programs."""

import dataclasses
import json

import click

from exporters.catalogue import ALL, GROUPS
from exporters.metric import HOLDER, Metric


@click.command()
@click.argument("words", nargs=-1)
@click.option("--markdown", "form", flag_value="markdown", help="The generated page docs/metrics.md.")
@click.option("--json", "form", flag_value="json", help="One JSON list, for programs.")
def metrics(words: tuple[str, ...], form: str | None) -> None:
    """List every metric: name, labels, what it says, and the group of `metrics.groups` that shows it, if it is not
    standard. WORDS keep those whose name or help has them all.

    \b
    Examples
      wattledger metrics
      wattledger metrics energy account
      wattledger metrics --json | jq -r '.[].name'
    """  # noqa: D301  (\b is click's mark for text that keeps its lines)
    if form == "markdown":
        from exporters.metric_docs import render_markdown  # noqa: PLC0415  (for this form only)

        click.echo(render_markdown(), nl=False)
    elif form == "json":
        found = [dataclasses.asdict(metric) for metric in ALL if _matches(metric, words)]
        click.echo(json.dumps(found, indent=2))
    else:
        _show(words)


def _show(words: tuple[str, ...]) -> None:
    shown = [(title, [metric for metric in group if _matches(metric, words)]) for title, group in GROUPS]
    if not any(group for _, group in shown):
        raise click.ClickException(f"no metric has {' and '.join(words)} in its name or help")
    for title, group in shown:
        if group:
            click.secho(title, bold=True)
        for metric in group:
            click.echo(f"  {click.style(metric.name, fg='cyan')} {metric.kind} {_labels(metric)}\n      {metric.help}")
            if metric.group:
                values = f"of {', '.join(metric.details)} " if metric.details else ""
                click.echo(f"      Shown {values}by group {metric.group}.")


def _labels(metric: Metric) -> str:
    names = ["holder" if label == HOLDER else label for label in metric.labels]
    names = names if metric.of_fleet else ["node", *names]
    return "{" + ", ".join(names) + "}"


def _matches(metric: Metric, words: tuple[str, ...]) -> bool:
    text = f"{metric.name} {metric.help}".lower()
    return all(word.lower() in text for word in words)
