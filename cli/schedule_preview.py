"""`wattledger schedule preview`: what schedules would do, before they may."""

import os
import sys
from datetime import UTC, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.node_options import config_option
from cli.schedule_api import connect, moment_of
from collectors.errors import Misconfigured

if TYPE_CHECKING:
    from cli.config import Config
    from cli.schedule_table import Told
    from collectors.kube_api import KubeApi

_PIPE_WIDTH = 160


@click.command()
@config_option
@click.option("--namespace", "-n", metavar="NS", default="", help="This namespace alone.")
@click.option("--days", type=click.IntRange(1, 31), default=7, show_default=True, help="How far ahead.")
@click.option("--at", "at", metavar="TIME", help="As if it were that time, in RFC 3339.  [default: now]")
@click.option("--output", "-o", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def preview(config_file: Path | None, namespace: str, days: int, at: str | None, form: str) -> None:
    """Show what schedules would do, now and in the next days, as a table and as a picture. Nothing is touched.

    One list of each kind that the cluster has. Said of each workload: which policy decides, what would be done now,
    what changes next, what speaks against its next down, and which policies would have it otherwise. Whether GPUs work,
    requests wait or an owner was told is asked when the time comes.

    \b
    Examples
      wattledger schedule preview --config wattledger.yaml
      wattledger schedule preview --namespace ml --at 2026-12-24T18:00:00+01:00
      wattledger schedule preview --days 14 --output json
    """  # noqa: D301  (\b is click's mark for text that keeps its lines)
    from cli.config_load import load_config  # noqa: PLC0415  (--help needs no configuration)

    config = load_config(config_file, os.environ, {})
    api = connect(config, os.environ)
    try:
        told = _told(api, config, namespace, days, at)
    finally:
        api.close()
    if form == "json":
        from cli.schedule_json import as_json  # noqa: PLC0415

        click.echo(as_json(told))
    else:
        _print(told)


def _told(api: "KubeApi", config: "Config", namespace: str, days: int, at: str | None) -> "Told":
    from zoneinfo import ZoneInfo  # noqa: PLC0415  (--help needs none of these)

    from cli.schedule_picture import midnights  # noqa: PLC0415
    from cli.schedule_table import Told  # noqa: PLC0415
    from collectors.clock import SystemClock  # noqa: PLC0415
    from collectors.kube_endpoint import SERVICE_ACCOUNT, own_namespace  # noqa: PLC0415
    from controller.scaling.cluster_view import NAMESPACES  # noqa: PLC0415
    from controller.scaling.one_look import OneLook  # noqa: PLC0415
    from controller.scaling.preview import Preview, Scope  # noqa: PLC0415
    from controller.scaling.registry import KINDS  # noqa: PLC0415

    settings, zone = config.schedule, ZoneInfo(config.schedule.timezone)
    now = moment_of(at, settings.timezone).astimezone(UTC)
    edges = midnights(now.astimezone(zone).date(), days, zone)
    look = OneLook(api, KINDS, SystemClock(), namespace)
    looked = look.objects()
    look.around(looked.view)
    if namespace and looked.view.synced(NAMESPACES) and namespace not in looked.view.namespaces:
        raise Misconfigured(f"--namespace: there is no namespace {namespace!r}")
    scope = Scope(
        now,
        edges[0],
        max(edges[-1], now + timedelta(days=days)),
        own_namespace() if (SERVICE_ACCOUNT / "namespace").exists() else "",
        whole_cluster=not namespace,
    )
    work = Preview(looked.view, {kind.name: kind for kind in KINDS}, settings, scope)
    return Told(tuple(work.rows()), looked, settings, scope, tuple(edges), zone, work.asked_later)


def _print(told: "Told") -> None:
    from rich.console import Console  # noqa: PLC0415  (only where a table is shown)

    from cli.schedule_picture import BLOCKS, LETTERS  # noqa: PLC0415
    from cli.schedule_table import coloured, lines_below, picture_of, table  # noqa: PLC0415

    console = Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False)
    if told.rows:
        console.print(table(told))
        marks = BLOCKS if "utf" in (console.encoding or "").lower() else LETTERS
        for line in picture_of(told, marks, console.width):
            console.print(coloured(line, marks), no_wrap=True, overflow="ignore", crop=False)
    for line in lines_below(told):
        console.print(line, markup=False, soft_wrap=True)
