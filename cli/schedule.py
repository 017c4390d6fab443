"""`wattledger schedule`: what schedules mean and will do, and the way back from them."""

import sys

import click

from cli.lazy_group import LazyGroup
from cli.schedule_api import moment_of

COMMANDS: dict[str, tuple[str, str]] = {
    "check": ("cli.schedule:check", "Say whether a moment is inside the windows of SPEC, and why."),
    "preview": ("cli.schedule_preview:preview", "Show what schedules would do, now and in the next days."),
    "restore": ("cli.schedule_restore:restore", "Bring back everything that schedules put down, as it was."),
    "scaledobject": ("cli.schedule_keda:scaledobject", "Print KEDA ScaledObjects for inference workloads."),
}


@click.group(cls=LazyGroup, commands_by_name=COMMANDS)
def schedule() -> None:
    """Scheduled scaling: what a window means, what would be done, and everything back.

    \b
    Examples
      wattledger schedule check 'Mon-Fri 07:30-20:30 Europe/Berlin'
      wattledger schedule preview --config wattledger.yaml
      wattledger schedule restore --all
    """  # noqa: D301  (\b is click's mark for text that keeps its lines)


@click.command()
@click.argument("spec")
@click.option("--at", "at", metavar="TIME", help="RFC 3339 time, such as 2026-11-22T18:00:00+01:00.  [default: now]")
@click.option("--timezone", "zone", metavar="ZONE", default="UTC", show_default=True, help="Of what names no zone.")
@click.option("--kube-downscaler", "theirs", is_flag=True, help="What SPEC means in an annotation downscaler/...")
def check(spec: str, at: str | None, zone: str, *, theirs: bool) -> None:
    """Say whether a moment is inside the windows of SPEC, and why.

    The first line is `inside` or `outside`; a SPEC that is not understood ends with status 2 and the place marked.
    kube-downscaler's spelling is read as well. A window over midnight has other days there, which is said where it
    matters.

    \b
    Examples
      wattledger schedule check 'Mon-Fri 07:30-20:30 Europe/Berlin'
      wattledger schedule check 'Mon-Fri 20:00-07:00, Sat-Sun' --timezone Asia/Tokyo --at 2026-11-22T03:00:00Z
      wattledger schedule check 'Mon-Fri 20:00-07:00 UTC' --kube-downscaler
    """  # noqa: D301  (\b is click's mark for text that keeps its lines)
    from controller.time_windows import SpecRefused, parse  # noqa: PLC0415  (--help needs no zones)

    try:
        windows = parse(spec, zone, "downscaler" if theirs else "own")
    except SpecRefused as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    moment = moment_of(at, zone)
    holding = windows.holding(moment)
    click.echo("inside" if holding else "outside")
    click.echo(f"{moment.isoformat()} is in {holding.explain()}" if holding else f"{moment.isoformat()} is in none of")
    for window in windows.windows if holding is None else ():
        click.echo(f"  {window.explain()}")
    if not theirs and parse(spec, zone, "downscaler").has(moment) != (holding is not None):
        click.echo(f"in an annotation downscaler/... it is {'outside' if holding else 'inside'} (--kube-downscaler)")
    change = windows.next_change(moment)
    then = "outside" if holding else "inside"
    click.echo(f"{then} from {change.isoformat()}" if change else "no change within 8 days")
