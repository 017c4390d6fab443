"""`wattledger schedule restore`: brings back whatever schedules put down, without controller or ledger."""

import os
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.node_options import config_option
from cli.schedule_api import connect
from collectors.errors import Misconfigured
from controller.visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cli.config import Config
    from collectors.kube_api import KubeApi
    from controller.scaling.bring_back import Brought
    from controller.scaling.cluster_view import ClusterView
    from controller.scaling.model import Seen

_RESTORES_PER_SECOND = 1000.0
_WORDS = {"back": "restored", "theirs": "left", "gone": "gone", "coming": "not Ready", "failed": "FAILED"}


@click.command()
@click.option("--all", "everything", is_flag=True, help="All namespaces.")
@click.option("--namespace", "-n", metavar="NS", default="", help="This namespace alone.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option(
    "--wait",
    "wait_seconds",
    metavar="SECONDS",
    type=click.FloatRange(0, 86_400),
    default=0.0,
    help="Wait so long for pods to be Ready.  [default: until all is written]",
)
@config_option
def restore(
    config_file: Path | None,
    namespace: str,
    wait_seconds: float,
    *,
    everything: bool,
    dry_run: bool,
) -> None:
    """Bring back everything that schedules put down, as it was, and take back what was done to ScaledObjects.

    Needs the API server and the objects alone. May be run again at any time, and beside a controller; one whose
    schedules are enabled may put things down again. One line for each object on stdout. Exit status 0: all is back, or
    stands as somebody else set it; 1: something is not back, and what to do is said.

    \b
    Examples
      wattledger schedule restore --all
      wattledger schedule restore --namespace ml --dry-run
      wattledger schedule restore --all --wait 600
    """  # noqa: D301  (\b is click's mark for text that keeps its lines)
    from cli.config_load import load_config  # noqa: PLC0415  (--help needs no configuration)

    if not everything and not namespace:
        raise Misconfigured("what is to be restored is not said: give --all, or --namespace NS")
    config = load_config(config_file, os.environ, {})
    api = connect(config, os.environ)
    try:
        all_is_well = _restore(api, config, namespace, wait_seconds, dry_run=dry_run)
    finally:
        api.close()
    sys.exit(0 if all_is_well else 1)


def _restore(api: "KubeApi", config: "Config", namespace: str, wait_seconds: float, *, dry_run: bool) -> bool:
    from collectors.clock import SystemClock  # noqa: PLC0415  (--help needs none of these)
    from controller.scaling.bring_back import OF_NO_CONCERN, would  # noqa: PLC0415
    from controller.scaling.left_down import is_marked  # noqa: PLC0415
    from controller.scaling.one_look import OneLook  # noqa: PLC0415
    from controller.scaling.queue_mark import MARK  # noqa: PLC0415
    from controller.scaling.queue_undo import would_undo  # noqa: PLC0415
    from controller.scaling.record import RECORD  # noqa: PLC0415
    from controller.scaling.registry import KINDS  # noqa: PLC0415

    clock = SystemClock()
    looked = OneLook(api, KINDS, clock, namespace).objects(is_marked)
    view, kinds = looked.view, {kind.name: kind for kind in KINDS}
    found = (seen for name in kinds for seen in view.objects(name) if RECORD in seen.annotations)
    marked = sorted(found, key=lambda seen: seen.ref)
    made = sorted(
        (seen for seen in view.objects("ScaledObject") if MARK in seen.annotations), key=lambda seen: seen.ref
    )
    whole = _tell_unseen(view, namespace)
    if dry_run:
        ended = [would(seen, kinds[seen.ref.kind], datetime.now(UTC)) for seen in marked] + list(map(would_undo, made))
        for brought in ended:
            _tell(brought, "would restore" if brought.result == "coming" else "")
        return whole and not view.unreadable and not any(brought.result == "failed" for brought in ended)
    if (marked or made) and config.schedule.enabled:
        click.echo("note: schedule.enabled is true: a controller that runs may put things down again", err=True)
    ended = _bring_back(api, view, marked, made, wait_seconds)
    back = sum(brought.result in OF_NO_CONCERN for brought in ended)
    click.echo(_summary(back, len(ended), len(view.unreadable), whole=whole))
    return whole and not view.unreadable and back == len(ended)


def _bring_back(
    api: "KubeApi", view: "ClusterView", marked: "Sequence[Seen]", made: "Sequence[Seen]", wait_seconds: float
) -> "list[Brought]":
    import threading  # noqa: PLC0415  (--help needs none of these)

    from collectors.clock import SystemClock  # noqa: PLC0415
    from collectors.kube_follow import Backoff  # noqa: PLC0415
    from controller.scaling.bring_back import BringBack, Server  # noqa: PLC0415
    from controller.scaling.queue_undo import TakeBack  # noqa: PLC0415
    from controller.scaling.rate import TokenBucket  # noqa: PLC0415
    from controller.scaling.registry import KINDS  # noqa: PLC0415
    from controller.scaling.writer import Pace, Writer  # noqa: PLC0415

    clock = SystemClock()
    pace = Pace(clock, threading.Event(), TokenBucket(_RESTORES_PER_SECOND), Backoff())
    writer = Writer(api, view.served, pace, _Unasked())
    server = Server(api, {kind.name: kind for kind in KINDS}, view.served, writer)
    ended = BringBack(server, clock, lambda: datetime.now(UTC), wait_seconds).run(marked, _tell)
    return ended + TakeBack(server, writer, clock).run(made, _tell)


class _Unasked:
    """Nobody minds how the API server answers."""

    def good(self, now_ns: int, /) -> None:
        """Nothing."""

    def bad(self, now_ns: int, why: str, /) -> None:
        """Nothing."""


def _tell(brought: "Brought", word: str = "") -> None:
    click.echo(f"{word or _WORDS[brought.result]}: {brought.ref}: {brought.why}")
    if brought.result in {"failed", "coming"} and brought.command:
        click.echo(f"  by hand: {visible(brought.command)}")


def _tell_unseen(view: "ClusterView", namespace: str) -> bool:
    """Say what could not be looked at; whether all kinds could."""
    from controller.scaling.record import RECORD  # noqa: PLC0415  (--help needs none of these)
    from controller.scaling.registry import kind_of  # noqa: PLC0415

    unseen = {**view.failing, **view.forbidden}
    for name, why in sorted(unseen.items()):
        kind = kind_of(name)
        resource = name if kind is None else ".".join(filter(None, (kind.plural, kind.group)))
        scope = f"-n {shlex.quote(namespace)}" if namespace else "-A"
        click.echo(f"FAILED: {name}: it is not known whether any is down: {why}")
        click.echo(f"  by hand: kubectl get {resource} {scope} -o yaml | grep -e {RECORD} -e restore-command")
    for ref, why in sorted(view.unreadable.items()):
        click.echo(f"FAILED: {ref}: it bears a record and cannot be read: {why}")
        click.echo("  by hand: its annotation wattledger.io/schedule-restore-command has the command")
    return not unseen


def _summary(back: int, marked: int, unreadable: int, *, whole: bool) -> str:
    if marked or unreadable or not whole:
        return f"{back} of {marked + unreadable} objects are back" + ("" if whole else "; not all could be looked at")
    return "nothing is down"
