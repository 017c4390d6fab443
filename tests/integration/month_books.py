"""The controller's jobs over the scripted month, at the moments of its script; in this process, or in one to be killed.

The jobs are those of `wattledger controller`; only the clock and what witnesses saw are the script's. ``python -m
tests.integration.month_books ROOT AGENTS AWS`` reads ``life`` and forks a process that takes moments, a line each, and
answers ``done``; what kills it is told as ``died``. Forking spares each life the time that imports take.
"""

import contextlib
import logging
import os
import resource
import signal
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import boto3  # noqa: F401  (before the first fork)
import polars as pl

from cli.config import Config
from cli.controller_books import build_books
from cli.controller_jobs import jobs_of
from cli.controller_run import ControllerOptions
from collectors.kube_json import JsonObject
from controller.settings import AgentsSettings, ControllerSettings
from ledger.bill_settings import BillSettings, BillSource
from ledger.price_live_settings import LivePriceSettings
from ledger.price_settings import OnPremPrice, PriceSettings
from ledger.tables import LIFETIMES
from ledger.witness import SeenNode, api_lifetimes, note_lifetimes
from tests.integration.scripted_month import END, INSTANCES, NODES, PRICED, REGION, ZONE, pushed, serving

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true"}
ON_PREM = OnPremPrice(capital_usd=87_600, years=4, mean_watts=350, tariff_usd_per_kwh="0.3", as_of=date(2026, 1, 1))
LITTLE_ROOM = 3000
"""Bytes that a file may have where there is no room: a small commit passes, what it speaks of does not."""


class ScriptedPresent:
    """The script's clock."""

    def __init__(self):
        self.moment = datetime.min.replace(tzinfo=UTC)

    def now(self):
        return self.moment

    def observe(self, hours):
        pass

    def behind(self):
        return False


class MonthBooks:
    """A controller's jobs, which do one moment's work at a time."""

    def __init__(self, root: Path, agents: str, aws: str):
        config = Config(
            controller=ControllerSettings(
                agents=AgentsSettings(urls=tuple(f"{agents}/{node}" for node in NODES), timeout_seconds=120)
            ),
            prices=PriceSettings(
                fallback="none",
                on_prem=(ON_PREM,),
                live=LivePriceSettings(pricing_url=aws, ec2_url=aws, attempts=1, instances="off"),
            ),
            bills=BillSettings(sources=(BillSource(name="acme", path=str(root / "bills")),)),
        )
        options = ControllerOptions(config)
        self.agents = agents
        self.present = ScriptedPresent()
        self.books = build_books(options, root, self.present)
        self.store = self.books.store
        self.store.claim_epoch()
        self.jobs = {job.name: job.run for job in jobs_of(options, self.books, self.present, lambda: 0.0)}

    def work(self, moment: datetime):
        """All jobs once. No two tries have the same time of day: they differ by microseconds, of which the script
        knows nothing.
        """
        self.present.moment = moment
        now = moment.replace(microsecond=0)
        if now in PRICED:
            self.jobs["prices"]()
        note_lifetimes(self.store, events(now))
        note_lifetimes(self.store, api_lifetimes(api_nodes(now), now))
        for node, documents in pushes(now):
            if refused := self.books.gather.push(node, documents):
                raise RuntimeError(f"pushed by {node}: {refused}")
        self.jobs["pull"]()
        gathered = self.books.gather.gathered
        if gathered.refused:
            raise RuntimeError(f"refused: {gathered.refused}")
        silent = {f"{self.agents}/{node}" for node in NODES if serving(node, now) is None}
        if gathered.silent.keys() != silent:
            raise RuntimeError(f"silent: {gathered.silent}, where {silent} were to be")
        self.jobs["bills"]()  # and settles


def events(now):
    """The cloud's own records of starts and ends."""
    rows = [
        {
            "cluster": "eu",
            "node": each.node,
            "provider": "aws",
            "region": REGION,
            "zone": ZONE,
            "instance_id": each.id,
            "instance_type": each.type,
            "capacity_type": each.capacity,
            "gpu_count": each.gpus,
            "gpu_model": "",
            "began": each.began,
            "seen": min(now, each.ended),
            "ended": each.ended if each.ended <= now else None,
            "evidence": "event",
        }
        for each in INSTANCES
        if each.witness == "event" and each.began <= now
    ]
    return pl.DataFrame(rows, schema=LIFETIMES.schema)


def api_nodes(now):
    """The nodes that the API server has."""
    place = {"cluster": "eu", "provider": "aws", "region": REGION, "zone": ZONE, "capacity_type": "on_demand"}
    for each in INSTANCES:
        if each.witness == "api" and each.began <= now <= min(each.ended, END):
            here = {**place, "instance_id": each.id, "instance_type": each.type}
            yield SeenNode(each.node, each.began, here, each.gpus)


def pushes(now) -> list[tuple[str, list[JsonObject]]]:
    import json

    return [(node, [json.loads(document)]) for node, document in pushed(now)]


def a_life(root: Path, agents: str, aws: str):
    """Do the work of the moments that are read, until there are no more."""
    books = MonthBooks(root, agents, aws)
    while (line := _line()) is not None:
        word, _, moment = line.partition(" ")
        if word == "end":
            return
        no_room = word == "full"
        if no_room:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (LITTLE_ROOM, LITTLE_ROOM))
        try:
            books.work(datetime.fromisoformat(moment))
        except Exception as error:
            if not no_room:
                raise
            _say(f"failed {str(error)[:200]!r}")
            return
        _say("done")


def _line():
    """One line, and no byte of the next: it may be for another process. None: there are no more."""
    line = bytearray()
    while (byte := os.read(0, 1)) != b"\n":
        if not byte:
            return None
        line += byte
    return line.decode()


def _say(line):
    os.write(1, f"{line}\n".encode())


def main(root: Path, agents: str, aws: str):
    """Beget lives, one at a time."""
    os.environ.update(KEYS)
    logging.basicConfig(level=logging.ERROR)
    _say("ready")
    while (line := _line()) is not None:
        if line != "life":
            continue  # what a life that was killed did not read to its end
        child = os.fork()
        if child == 0:
            status = 1
            with contextlib.suppress(KeyboardInterrupt):
                a_life(root, agents, aws)
                status = 0
            os._exit(status)
        _say(f"born {child}")
        _, status = os.waitpid(child, 0)
        _say(f"died {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
