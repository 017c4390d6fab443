"""A ledger that cannot be claimed now is claimed later; why not is in sight meanwhile."""

import logging
import threading

import pytest

from collectors.errors import Misconfigured
from controller.claim import Claim, Over
from ledger.store import Store
from ledger.store_errors import Fenced, StoreError
from ledger.tables import EPOCHS, NODE_HOURS
from tests.integration.agent_process import eventually
from tests.ledger.newer_delta import commit_newer


class Trial:
    """A claim on a ledger in a directory, made in a thread of its own, and what came of it."""

    def __init__(self, folder, *checks):
        self.checks, self.checked = list(checks), 0
        self.store, self.stop, self.over, self.made = Store(str(folder)), threading.Event(), [], []
        self.claim = Claim(self.store, self.check, Over((Fenced, Misconfigured), self.over.append))
        self.thread = threading.Thread(target=lambda: self.made.append(self.claim.make(self.stop, 0.02)))

    def check(self):
        self.checked += 1
        if self.checks:
            raise self.checks.pop(0)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join(10)

    @property
    def health(self):
        return self.claim.health["claim"]


@pytest.fixture
def ledger(tmp_path):
    Store(str(tmp_path)).claim_epoch()
    return tmp_path


def test_a_claim_shuts_former_leaders_out(ledger):
    with Trial(ledger) as trial:
        trial.thread.join(30)
    assert (trial.made, trial.store.epoch, trial.claim.made) == ([True], 2, True)
    assert (trial.health.runs, trial.health.error) == (1, "")


def test_a_ledger_that_cannot_be_read_is_claimed_once_it_can(ledger, caplog):
    caplog.set_level(logging.INFO)
    first = ledger / "epochs/_delta_log/00000000000000000000.json"
    whole = first.read_text()
    first.write_text("{")
    with Trial(ledger) as trial:
        eventually("three tries", lambda: trial.health.runs >= 3, 30)
        assert "cannot read epochs" in trial.health.error
        assert not trial.claim.made
        first.write_text(whole)
        trial.thread.join(30)
    assert (trial.made, trial.store.epoch, trial.health.error) == ([True], 2, "")
    assert len([line for line in caplog.messages if line.startswith("job claim failed and is tried again")]) == 1
    assert f"the ledger at {ledger} is kept under epoch 2" in caplog.messages


@pytest.mark.parametrize("table", [EPOCHS.name, NODE_HOURS.name])
def test_a_table_of_a_newer_version_is_left_alone_and_no_reason_to_end(ledger, table):
    commit = commit_newer(ledger / table)
    before = sorted(ledger.rglob("*.json"))
    with Trial(ledger) as trial:
        eventually("two tries", lambda: trial.health.runs >= 2, 30)
        assert f"/{table}" in trial.health.error
        assert "needs a newer Delta than this wattledger has, nothing was changed" in trial.health.error
        assert sorted(ledger.rglob("*.json")) == before
        commit.unlink()
        trial.thread.join(30)
    assert (trial.made, trial.over) == ([True], [])


def test_what_speaks_against_it_for_good_ends_the_tries(ledger):
    with Trial(ledger, StoreError("cannot be read now"), Misconfigured("it holds simulated figures")) as trial:
        trial.thread.join(30)
        assert not trial.thread.is_alive()
    assert [str(error) for error in trial.over] == ["it holds simulated figures"]
    assert (trial.made, trial.claim.made, trial.store.epoch) == ([False], False, None)


def test_what_was_checked_once_is_not_checked_with_each_try(ledger):
    commit = commit_newer(ledger / "cost")
    with Trial(ledger, StoreError("cannot be read now")) as trial:
        eventually("four tries", lambda: trial.health.runs >= 4, 30)
        assert trial.checked == 2
        commit.unlink()


def test_the_end_of_the_controller_ends_the_tries(ledger):
    with Trial(ledger, *[StoreError("no permission")] * 1000) as trial:
        eventually("a try", lambda: trial.health.runs, 30)
    assert trial.made == [False]
    assert trial.health.error == "no permission"
