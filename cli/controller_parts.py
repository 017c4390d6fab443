"""The parts of a controller, built from its configuration; the only place that builds its objects."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from polars.exceptions import PolarsError

from cli.controller_books import Books, build_books, kube_api
from cli.controller_jobs import jobs_of
from cli.controller_run import ControllerOptions
from cli.controller_scaling import Scaling, build_scaling
from cli.controller_seat import build_seat
from cli.node_options import data_dir
from collectors.errors import Misconfigured
from collectors.kube_quotas import read_quotas
from controller.api_ask import Worker
from controller.claim import Claim, Over
from controller.families import ControllerFamilies
from controller.jobs import Job, Jobs
from controller.lease import Leadership, Times, boot_seconds
from controller.present import MachinePresent, Present, SimulatedPresent
from controller.quota_report import QuotaWatch
from controller.site import ControllerSite, Doors, Inside
from controller.status import Lookout, Standing
from exporters.http_secrets import Token
from exporters.http_server import AddressTaken, RunningServer, serve_site
from exporters.server_settings import split_address
from ledger.store_disk import is_local
from ledger.store_errors import Fenced, StoreError

_SECTION = "controller.server"
_BEHIND_SECONDS = 2.0
"""Between two rounds while a simulation runs through the past."""
_FIRST_SECONDS, _FIRST_FOR_SECONDS = 30.0, 600.0
"""Between two pulls of the node beside which this runs, while somebody who started it may be watching."""
_LAWS_SECONDS = 6 * 3600.0


@dataclass(slots=True)
class Parts:
    """A controller that serves, and leads once it may."""

    claim: Claim
    jobs: Jobs
    watching: Jobs
    worker: Worker
    leadership: Leadership
    server: RunningServer
    stop: threading.Event
    scaling: Scaling | None

    def end(self, *, last_pull: bool) -> None:
        """Finish the job at work, pull once more where that is asked for, and stop serving."""
        self.stop.set()
        if self.scaling is not None:
            self.scaling.end()
        self.jobs.end()
        self.watching.end()
        if last_pull and self.claim.made:
            self.jobs.run_once("pull")
            self.jobs.run_once("cost")
        self.server.close()
        self.worker.close()


@dataclass(frozen=True, slots=True)
class Ends:
    """How a controller is ended from within."""

    at_once: Callable[[str], None]
    """Another keeps the books: not one more write."""
    refused: Callable[[Exception], None]
    """The ledger is not one that these settings may keep; the message is for the user."""


def build(options: ControllerOptions, ends: Ends) -> Parts:
    """Build everything, serve, and look at the books; nothing is written before the seat is had.

    Args:
        options: what was configured and typed.
        ends: called when it must not go on.

    Raises:
        Misconfigured: a setting cannot be followed; the message is for the user.
    """
    config, settings = options.config, options.config.controller
    folder = data_dir(config, simulated=options.simulated).absolute()
    present: Present = SimulatedPresent(_now) if options.simulated else MachinePresent()
    books = build_books(options, folder, present)
    if is_local(books.root):  # at once, also where another leads; a bucket may keep its readers waiting
        with suppress(StoreError, PolarsError, OSError):
            books.check_kind()
    lookout = Lookout(books.reader, present, config.budgets, settings.series_cap)
    pace = _Pace(options, present)
    quotas = _quotas(options, books, present)
    watching = Jobs(_watching(lookout, quotas, pace.seconds))
    jobs = _jobs(options, books, pace, watching, ends)
    stop = threading.Event()
    scaling = build_scaling(options, books, present)
    claim = _claim(books, ends)
    leadership = Leadership(
        build_seat(config, books.root, folder, os.environ),
        Times(settings.lease.renew_deadline_seconds, settings.lease.retry_seconds),
        lead=lambda: _lead(claim, jobs, scaling, stop),
        lost=lambda why: ends.at_once(f"the seat is lost: {why}"),
    )

    def stand() -> Standing:
        return Standing(
            now=present.now(),
            machine_now=_now(),
            leads=leadership.leads and claim.made,
            epoch=books.store.epoch,
            simulated=options.simulated,
            facts=lookout.facts,
            breaks=lookout.breaks,
            quotas=None if quotas is None else quotas.facts,
            gathered=books.gather.gathered,
            jobs={**claim.health, **jobs.health, **watching.health, **({} if scaling is None else scaling.health)},
            prices_refused=None if books.prices is None else books.prices.refused,
            bills_waiting=None if books.bills is None else books.bills.waiting,
            cost_explorer=None if books.cost_explorer is None else books.cost_explorer.spent(),
        )

    worker = Worker(settings.queries_at_once, settings.query_seconds)
    families = ControllerFamilies(stand, lambda: None if scaling is None else scaling.stand())
    server = _serve(options, _site(options, books, present, worker, families))
    watching.start()
    if scaling is not None:
        scaling.watch()
    return Parts(claim, jobs, watching, worker, leadership, server, stop, scaling)


def _jobs(options: ControllerOptions, books: Books, pace: "_Pace", watching: Jobs, ends: Ends) -> Jobs:
    """Those of whoever leads."""
    return Jobs(
        jobs_of(options, books, pace.present, pace.seconds),
        fatal=(Fenced,),
        on_fatal=lambda error: ends.at_once(str(error)),
        after=lambda name: watching.hurry("look") if name != "pull" else None,
    )


def _watching(lookout: Lookout, quotas: QuotaWatch | None, pace: Callable[[], float]) -> Iterator[Job]:
    """What only reads, of a controller that stands by too."""
    yield Job("look", lookout.run, pace)
    if quotas is not None:
        yield Job("quotas", quotas.run, pace)
    yield Job("laws", lookout.prove, lambda: _LAWS_SECONDS)


def _quotas(options: ControllerOptions, books: Books, present: Present) -> QuotaWatch | None:
    api = None if options.simulated else kube_api(options.config, os.environ)
    if api is None:
        return None
    return QuotaWatch(books.reader, lambda: read_quotas(api), options.config.agent.cluster_name, present.now)


@dataclass(frozen=True, slots=True)
class _Pace:
    """How often the jobs that follow the agents run."""

    options: ControllerOptions
    present: Present
    began: float = field(default_factory=boot_seconds)

    def seconds(self) -> float:
        """Seconds between two runs, now."""
        if self.present.behind():
            return _BEHIND_SECONDS
        settings = self.options.config.controller
        if self.options.own_node is not None and boot_seconds() - self.began < _FIRST_FOR_SECONDS:
            return min(_FIRST_SECONDS, settings.pull_interval_seconds)
        return settings.pull_interval_seconds


def _claim(books: Books, ends: Ends) -> Claim:
    def over(error: Exception) -> None:
        if isinstance(error, Misconfigured):
            ends.refused(error)
        else:
            ends.at_once(str(error))

    return Claim(books.store, books.check_kind, Over((Fenced, Misconfigured), over))


def _lead(claim: Claim, jobs: Jobs, scaling: Scaling | None, stop: threading.Event) -> None:
    """Shut former leaders out, then begin; what is to come back waits for no ledger."""
    if scaling is not None:
        scaling.start()
    if claim.make(stop):
        jobs.start()


def _site(
    options: ControllerOptions,
    books: Books,
    present: Present,
    worker: Worker,
    families: ControllerFamilies,
) -> ControllerSite:
    settings = options.config.controller
    inside = Inside(
        store=books.reader,
        worker=worker,
        present=present,
        gather=books.gather,
        stand=families.stand,
        budgets=options.config.budgets,
        metrics=families,
    )
    read, push = settings.server.token_file, settings.push_token_file
    doors = Doors(
        read=Token(read, f"{_SECTION}.token_file") if read else None,
        push=Token(push, "controller.push_token_file") if push else None,
        push_open=split_address(settings.server.listen)[0] in {"127.0.0.1", "::1", "localhost"},
    )
    return ControllerSite(inside, doors)


def _serve(options: ControllerOptions, site: ControllerSite) -> RunningServer:
    settings = options.config.controller.server
    try:
        return serve_site(settings, site, _SECTION)
    except AddressTaken:
        if not options.any_port:
            raise
        host = settings.listen.rpartition(":")[0]
        return serve_site(settings.model_copy(update={"listen": f"{host}:0"}), site, _SECTION)


def _now() -> datetime:
    return datetime.now(UTC)
