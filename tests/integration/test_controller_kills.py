"""kill -9 of a controller at random, while a simulated week streams in: its books end as those that nobody killed."""

import os
import random
import re
import time

import polars as pl
import pytest

from ledger.store import Store
from ledger.tables import COST, NODE_HOURS, PRICES, PROFILE, USAGE, WORK
from ledger.verify import verify
from tests.integration.agent_process import AgentProcess, eventually
from tests.integration.test_books import CONFIG, SECONDS, WEEK, api_of, ask, present_reached

KILLS = int(os.environ.get("WATTLEDGER_CONTROLLER_KILLS", "6"))
SEED = int(os.environ.get("WATTLEDGER_CONTROLLER_KILLS_SEED", "20261122"))
_LATER = {NODE_HOURS.name: ["booked_at"]}
"""What tells when it was booked, and not what."""


@pytest.fixture(scope="module")
def ledgers(tmp_path_factory):
    """Two ledgers of one simulated week: one kept by the node's own controller, one by a controller that was killed."""
    folder, chance = tmp_path_factory.mktemp("kills"), random.Random(SEED)
    with AgentProcess(folder, command=WEEK, config=CONFIG) as node:
        command = ("controller", "--simulated", "--agent", node.url)
        for count in range(KILLS):
            victim = AgentProcess(folder / f"v{count}", command=command, config=CONFIG, data_dir=folder / "killed")
            eventually("it keeps the books", lambda v=victim: "is kept under epoch" in v.said, SECONDS)
            time.sleep(chance.uniform(0, 2.5))
            victim.kill()
            assert not re.search(r"Traceback|ERROR", victim.said), victim.said
        own = api_of(node)
        eventually("the week is lived through", lambda: present_reached(own), SECONDS, every=0.5)
        with AgentProcess(folder / "last", command=command, config=CONFIG, data_dir=folder / "killed") as last:
            eventually("it caught up", lambda: present_reached(api_of(last)), SECONDS, every=0.5)
            epoch = ask(f"{api_of(last)}/status")["epoch"]
            assert last.terminate(SECONDS) == 0  # so that nothing of the open hour is left half done
    return Store(str(folder / "books/ledger")), Store(str(folder / "killed/ledger")), epoch


def hours_of(store):
    return set(store.scan(NODE_HOURS).filter(state="final").select("hour_utc").collect()["hour_utc"])


def final_rows(store, table):
    """The rows of hours that are final, but for when they were booked."""
    rows = store.scan(table).drop(_LATER.get(table.name, []))
    if "hour_utc" in table.schema:
        final = store.scan(NODE_HOURS).filter(state="final").select("hour_utc", "node", "instance_id")
        rows = rows.join(final, on=["hour_utc", "node", "instance_id"], how="semi")
    return rows.collect().sort(table.key, nulls_last=True)


@pytest.mark.parametrize("table", [NODE_HOURS, USAGE, COST, PROFILE, WORK, PRICES], ids=lambda table: table.name)
def test_the_books_are_those_that_nobody_killed(ledgers, table):
    calm, killed, _ = ledgers
    wanted, found = final_rows(calm, table), final_rows(killed, table)
    if "hour_utc" in table.schema:
        both = [hours_of(store) for store in (calm, killed)]
        assert len(both[0] & both[1]) >= 7 * 24
        shared = pl.col("hour_utc").is_in(sorted(both[0] & both[1]))
        wanted, found = wanted.filter(shared), found.filter(shared)
    assert wanted.height > 0 or table.name == WORK.name  # nobody serves in this week
    assert found.equals(wanted)


def test_the_laws_hold_in_the_books_of_the_killed(ledgers):
    assert list(verify(ledgers[1])) == []


def test_each_life_had_an_epoch_of_its_own(ledgers):
    assert ledgers[2] == KILLS + 1
