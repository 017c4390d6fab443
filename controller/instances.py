"""The job that asks AWS when instances began and ended: the witness of nodes that came and went unseen."""

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import polars as pl

from collectors.aws_client import Client
from collectors.aws_instances import (
    EVENT_DAYS,
    DescribedInstance,
    InstanceEvent,
    described_instances,
    instance_events,
)
from collectors.aws_prices import instance_shapes
from collectors.errors import SourceError, Unavailable
from collectors.price_list import PriceRow
from ledger.bill_witness import gpu_types
from ledger.event_witness import EVENT, Told, note_event_lifetimes
from ledger.price_keeper import Connect, connect_aws
from ledger.price_live import shape_rows
from ledger.price_live_settings import LivePriceSettings
from ledger.store import Store
from ledger.store_progress import note_progress, progress
from ledger.tables import INSTANCE_TYPES, LIFETIMES, NODE_HOURS
from ledger.unsettled import FURTHEST

_log = logging.getLogger(__name__)

T = TypeVar("T")
_WHAT = "instance events"
_LATE = timedelta(minutes=30)
"""CloudTrail shows an event some minutes after it was; so far back is asked again."""
_AT_ONCE = timedelta(days=1)
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_REQUESTS = 100
"""To CloudTrail in a run and region: a minute. What is left of a long past is read in the next runs."""


@dataclass(slots=True)
class InstanceWitness:
    """Notes begins and ends in the regions that nodes were seen in. Each region goes as far as it can."""

    store: Store
    settings: LivePriceSettings
    listed: Sequence[PriceRow]
    """The bundled list: which types have GPUs."""
    now: Callable[[], datetime]
    connect: Connect = connect_aws
    pause: Callable[[float], None] = time.sleep
    _said: set[str] = field(default_factory=set[str], init=False)

    def run(self) -> None:
        """Ask, and note it.

        Raises:
            Unavailable: at least one question had no answer; the message has each with its remedy. What the others
                answered is noted.
            StoreError: it could not be read or written.
        """
        failed = [why for region, first in self._regions() for why in self._read(region, first)]
        if failed:
            raise Unavailable("; ".join(failed))

    def _regions(self) -> list[tuple[str, datetime]]:
        """With the first hour of the last 90 days that is booked there."""
        seen = self.store.scan(NODE_HOURS).filter(
            pl.col("day") >= (self.now() - timedelta(days=EVENT_DAYS)).date(),
            pl.col("provider") == "aws",
            pl.col("region") != "",
            pl.col("source") != "simulated",
        )
        return seen.group_by("region").agg(pl.col("hour_utc").min()).sort("region").collect().rows()

    def _read(self, region: str, first: datetime) -> Sequence[str]:
        """What had no answer."""
        failed: list[str] = []
        asked_at = self.now()
        described = self._tried(failed, lambda: self._described(region)) or ()
        events: list[InstanceEvent] = []
        through = self._mark(region)
        try:
            for until, found in self._events(region, first):
                events += found
                through = until
        except SourceError as error:
            failed.append(str(error))
        facts = [*(each.facts for each in described), *(each.facts for each in events if each.facts)]
        learnt = self._tried(failed, lambda: self._learn(region, {each.instance_type for each in facts}))
        types = gpu_types(self.listed, self.store.scan(INSTANCE_TYPES).collect())
        note_event_lifetimes(self.store, Told(asked_at, described, events), types)
        self._tell_endless(described)
        if learnt and through != self._mark(region):  # what is not known to have GPUs yet is read again
            marks = dict(progress(self.store, _WHAT))
            note_progress(self.store, _WHAT, marks | {region: through.isoformat()}, self.now())
        return failed

    def _tried(self, failed: list[str], ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except SourceError as error:
            failed.append(str(error))
            return None

    def _described(self, region: str) -> Sequence[DescribedInstance]:
        with self._asking("ec2", region, self.settings.ec2_url) as ec2:
            read = described_instances(ec2, region)
        self._tell(read.refused)
        return read.instances

    def _events(self, region: str, first: datetime) -> Iterator[tuple[datetime, Sequence[InstanceEvent]]]:
        """A day at a time, with up to when it was read; a day is read whole."""
        if self.settings.instances == "describe":
            return
        now = self.now()
        since = max(min(self._mark(region), now) - _LATE, first, now - FURTHEST)
        asked = 0
        with self._asking("cloudtrail", region, self.settings.cloudtrail_url) as trail:
            while since < now and asked < _MOST_REQUESTS:
                until = min(since + _AT_ONCE, now)
                read = instance_events(trail, region, since, until, self.pause)
                self._tell(read.refused)
                yield until, read.events
                asked, since = asked + read.requests, until

    def _mark(self, region: str) -> datetime:
        """Up to when its events were read."""
        said = progress(self.store, _WHAT).get(region)
        return datetime.fromisoformat(said) if isinstance(said, str) else _NEVER

    def _learn(self, region: str, kinds: Iterable[str]) -> bool:
        """Whether types that neither the list nor the ledger knows have GPUs is asked once."""
        known = self.store.scan(INSTANCE_TYPES).filter(pl.col("provider") == "aws").select("instance_type").collect()
        listed = {row.instance_type for row in self.listed if row.provider == "aws"}
        unknown = {*kinds} - {""} - listed - set(known["instance_type"])
        if not unknown:
            return True
        with self._asking("ec2", region, self.settings.ec2_url) as ec2:
            found = instance_shapes(ec2, region, unknown)
        if found:
            where = {"provider": ["aws"], "instance_type": [shape.instance_type for shape in found]}
            self.store.replace(INSTANCE_TYPES, shape_rows(found, self.now()), where)
        return True

    def _tell_endless(self, described: Iterable[DescribedInstance]) -> None:
        """Of instances that count, and whose end nobody else recorded."""
        lines = {each.facts.instance_id: each.endless for each in described if each.endless}
        still = self.store.scan(LIFETIMES).filter(
            pl.col("evidence") == EVENT, pl.col("ended").is_null(), pl.col("instance_id").is_in(list(lines))
        )
        self._tell(lines[each] for each in still.select("instance_id").collect()["instance_id"])

    def _tell(self, refused: Iterable[str]) -> None:
        """Once each, however often it is read again."""
        now = set(refused)
        for line in sorted(now - self._said):
            _log.warning("%s", line)
        self._said |= now

    @contextmanager
    def _asking(self, service: str, region: str, url: str) -> Generator[Client]:
        made = self.connect(service, region, url or None, self.settings.attempts)
        try:
            yield made
        finally:
            made.close()
