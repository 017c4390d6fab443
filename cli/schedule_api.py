"""What the commands of schedules share: the API server that the configuration names, and moments as they are typed."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from collectors.errors import Misconfigured

if TYPE_CHECKING:
    from cli.config import Config
    from collectors.kube_api import KubeApi

_SECONDS = 15.0
"""For one answer."""


def connect(config: "Config", environ: Mapping[str, str]) -> "KubeApi":
    """The API server, as the controller reaches it; close it in the end.

    Raises:
        Misconfigured: none is known.
    """
    from cli.kube_node import endpoint_of  # noqa: PLC0415  (--help needs none of these)
    from collectors.kube_api import KubeApi  # noqa: PLC0415
    from controller.scaling.informers import PAGE_OBJECTS  # noqa: PLC0415

    try:
        endpoint = endpoint_of(config.kubernetes, environ)
    except Misconfigured as error:
        raise Misconfigured(
            f"{error} (kubernetes.api_url); from a workstation run `kubectl proxy` and set "
            "WATTLEDGER_KUBERNETES__API_URL=http://127.0.0.1:8001"
        ) from error
    return KubeApi(endpoint, timeout_seconds=_SECONDS, page_objects=PAGE_OBJECTS, keep_connections=True)


def moment_of(at: str | None, zone: str) -> datetime:
    """The moment asked for, else now; a time without an offset is of the zone."""
    from zoneinfo import ZoneInfo  # noqa: PLC0415  (--help needs no zones)

    from controller.time_windows import YEARS  # noqa: PLC0415

    if at is None:
        return datetime.now(UTC).astimezone(ZoneInfo(zone))
    try:
        moment = datetime.fromisoformat(at)
    except ValueError as error:
        raise click.BadParameter(
            f"{at!r} is no time: write such as 2026-11-22T18:00:00+01:00", param_hint="--at"
        ) from error
    if moment.year not in YEARS:
        said = f"the year {moment.year} is out of reach: write one from {YEARS[0]} to {YEARS[-1]}"
        raise click.BadParameter(said, param_hint="--at")
    return moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))
