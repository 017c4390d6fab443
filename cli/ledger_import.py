"""`wattledger ledger import`: books of a fleet that only runs dcgm-exporter, from the Prometheus that scraped it."""

import os
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.node_options import config_option
from collectors.errors import Misconfigured

if TYPE_CHECKING:
    from cli.config import Config
    from cli.config_source import Value
    from collectors.kube_owners import Dimension

_AGO = re.compile(r"(\d+)([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@click.command("import")
@config_option
@click.option("--prometheus", "url", metavar="URL", help="The API, without /api/v1: http://prometheus:9090.")
@click.option("--since", metavar="WHEN", default="30d", show_default=True, help="30d, 12h, 2w, or a date or time.")
@click.option("--until", metavar="WHEN", default="0m", help="The same; whole hours before it are made.  [default: now]")
@click.option("--token-file", metavar="FILE", type=click.Path(path_type=Path), help="File with a bearer token.")
@click.option("--tenant", metavar="NAME", help="Sent as X-Scope-OrgID, for Mimir and Thanos.")
@click.option("--cluster", metavar="NAME", help="Whose fleet it is; `agent.cluster_name` unless given.")
@click.option("--team-label", metavar="LABEL", help="Pod label that names the team.")
@click.option("--environment-label", metavar="LABEL", help="Pod label that names the environment.")
@click.option("--again", is_flag=True, help="Make hours again that were imported before.")
@click.option(
    "--data-dir",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Directory that holds the ledger, unless `ledger.root` is another place.",
)
def import_(
    *,
    config_file: Path | None,
    url: str | None,
    since: str,
    until: str,
    token_file: Path | None,
    tenant: str | None,
    cluster: str | None,
    team_label: str | None,
    environment_label: str | None,
    again: bool,
    data_dir: Path | None,
) -> None:
    """Make books of past hours from the Prometheus of a fleet that only runs dcgm-exporter; nothing is installed.

    It asks Prometheus, Mimir, Thanos or VictoriaMetrics, with kube-state-metrics where it has that, and marks each
    row an estimate. Interrupted, it goes on where it was. Hours that an agent measured are left alone. Your own
    prices, basic authentication and TLS are set in the configuration.

    \b
    Examples
      wattledger ledger import --prometheus http://prometheus:9090 --since 30d
      wattledger ledger import --prometheus https://mimir/prometheus --tenant ml --token-file token --cluster prod
      wattledger ledger import --config wattledger.yaml --since 2026-10-01 --until 2026-11-01 --again
    """  # noqa: D301  (\b is click's mark for text that keeps its lines)
    from cli.config_load import load_config  # noqa: PLC0415  (--help needs no configuration)
    from cli.controller_run import require_extra  # noqa: PLC0415

    require_extra()
    from cli.ledger_import_run import Wanted, run_import  # noqa: PLC0415  (polars and the like: --help needs none)

    given: dict[str, tuple[str, Value]] = {}
    for key, option, value in (
        ("prometheus.url", "--prometheus", url),
        ("prometheus.token_file", "--token-file", None if token_file is None else str(token_file)),
        ("prometheus.tenant", "--tenant", tenant),
        ("agent.cluster_name", "--cluster", cluster),
        ("agent.data_dir", "--data-dir", None if data_dir is None else str(data_dir)),
    ):
        if value is not None:
            given[key] = option, value
    config = load_config(config_file, os.environ, given)
    now = datetime.now(UTC)
    run_import(
        config,
        Wanted(
            since=moment("--since", since, now),
            until=moment("--until", until, now),
            dimensions=dimensions(config, team_label, environment_label),
            again=again,
        ),
        now,
    )


def moment(option: str, said: str, now: datetime) -> datetime:
    """A time as it was typed: so long before ``now``, or a date or time, of UTC where it names no zone.

    Raises:
        Misconfigured: it is neither.
    """
    try:
        if ago := _AGO.fullmatch(said):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        found = datetime.fromisoformat(said)
    except (ValueError, OverflowError) as error:
        raise Misconfigured(f"{option}: found {said!r}, allowed: 30d, 12h, 2w, 2026-11-22 or a time") from error
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def dimensions(config: "Config", team_label: str | None, environment_label: str | None) -> "list[Dimension]":
    """What costs are grouped by, with the labels that were typed in front of those configured."""
    typed = {"team": team_label, "environment": environment_label}
    known = [each.dimension() for each in config.kubernetes.dimensions]
    return [
        replace(each, label_keys=(label, *each.label_keys)) if (label := typed.get(each.name)) else each
        for each in known
    ]
