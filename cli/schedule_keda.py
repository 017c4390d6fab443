"""`wattledger schedule scaledobject`: the KEDA objects that the configuration asks for, as YAML."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.node_options import config_option
from collectors.errors import Misconfigured

if TYPE_CHECKING:
    from controller.scaling.queue_settings import QueueScaling, QueueScalingSettings


@click.command("scaledobject")
@config_option
@click.option("--at", "at", metavar="TIME", help="With the bounds of that time, in RFC 3339.  [default: now]")
@click.argument("workloads", metavar="[NAMESPACE/NAME]...", nargs=-1)
def scaledobject(config_file: Path | None, at: str | None, workloads: tuple[str, ...]) -> None:
    """Print KEDA ScaledObjects for the inference workloads of `queue_scaling`, or for those named.

    Nothing is written to a cluster. The replicas between which KEDA scales are those of the moment; a comment says
    until when, and from where on they are other ones.

    \b
    Examples
      wattledger schedule scaledobject --config wattledger.yaml | kubectl apply -f -
      wattledger schedule scaledobject ml/chat --at 2026-11-23T20:00:00+01:00
    """  # noqa: D301  (\b is click's mark for text that keeps its lines)
    from cli.config_load import load_config  # noqa: PLC0415  (--help needs no configuration)

    settings = load_config(config_file, os.environ, {}).queue_scaling
    moment = _moment(at)
    for number, scaling in enumerate(_chosen(settings, workloads)):
        click.echo(_told(scaling, settings, moment, first=number == 0), nl=False)


def _chosen(settings: "QueueScalingSettings", workloads: tuple[str, ...]) -> "list[QueueScaling]":
    known = {f"{each.namespace}/{each.name}": each for each in settings.workloads}
    if not known:
        raise Misconfigured("queue_scaling.workloads is empty: name the inference workloads that are to be scaled")
    for name in workloads:
        if name not in known:
            raise Misconfigured(f"{name} is not in queue_scaling.workloads, which has {', '.join(sorted(known))}")
    return [known[name] for name in workloads or known]


def _told(scaling: "QueueScaling", settings: "QueueScalingSettings", moment: datetime, *, first: bool) -> str:
    import yaml  # noqa: PLC0415  (--help needs none of these)

    from controller.scaling.queue_scaling import NoPrometheus, bounds_at, scaled_object  # noqa: PLC0415

    try:
        item = scaled_object(scaling, settings, moment)
    except NoPrometheus as error:
        raise Misconfigured(str(error)) from error
    bounds = bounds_at(scaling, settings.timezone, moment)
    until = "" if bounds.until is None else f"; other bounds from {bounds.until.astimezone(UTC).isoformat()}"
    head = f"# {scaling.namespace}/{scaling.name}: {bounds.least} to {bounds.most} replicas {bounds.why}{until}\n"
    body: str = yaml.safe_dump(item, sort_keys=False, width=10_000)
    return ("" if first else "---\n") + head + body


def _moment(at: str | None) -> datetime:
    if at is None:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(at)
    except ValueError as error:
        raise click.BadParameter(
            f"{at!r} is no time: write such as 2026-11-22T18:00:00+01:00", param_hint="--at"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
