"""`wattledger doctor`: what works on this machine, what does not, and the remedy."""

import dataclasses
import json
import os
import threading
from collections.abc import Sequence

import click

from cli.config import Config
from cli.doctor_checks import examine
from cli.doctor_finding import Finding, Verdict, survey
from cli.node_options import configured
from collectors.clock import SystemClock
from collectors.nvml import NvmlSource

_COLOURS: dict[Verdict, str] = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@configured
@click.option("--json", "as_json", is_flag=True, help="One JSON list, for programs.")
@click.pass_context
def doctor(ctx: click.Context, config: Config, as_json: bool) -> None:  # noqa: FBT001  (click gives options by name)
    """Check driver, devices, permissions, host, Kubernetes, serving pages, prices, port and data directory.

    Nothing is changed. Exit status 0 when all is well or only warned about, 1 when something fails, 2 when the
    configuration itself is wrong.

    \b
    Examples
      wattledger doctor
      wattledger doctor --config wattledger.yaml --data-dir /var/lib/wattledger
      wattledger doctor --json | jq '.[] | select(.verdict != "ok")'
    """  # noqa: D301  (\b is click's mark for text that keeps its lines)
    clock = SystemClock()
    source = NvmlSource(clock)
    try:
        machine = survey(config, clock, source, lambda ns: clock.wait(threading.Event(), ns))
        machine = dataclasses.replace(machine, environ=os.environ)
    finally:
        source.close()
    findings: list[Finding] = []
    for finding in examine(machine):
        findings.append(finding)
        if not as_json:
            _show(finding)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    else:
        _sum_up(findings)
    ctx.exit(int(any(finding.verdict == "fail" for finding in findings)))


def _show(finding: Finding) -> None:
    verdict = click.style(f"{finding.verdict:4}", fg=_COLOURS[finding.verdict], bold=finding.verdict != "ok")
    click.echo(f"{verdict}  {finding.check:11}  {finding.what}")
    if finding.remedy:
        click.echo(f"{'':17}  remedy: {finding.remedy}")


def _sum_up(findings: Sequence[Finding]) -> None:
    counts = {verdict: sum(finding.verdict == verdict for finding in findings) for verdict in _COLOURS}
    click.echo(f"\n{counts['ok']} good, {counts['warn']} to look at, {counts['fail']} failing")
