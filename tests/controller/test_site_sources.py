"""What was not measured by an agent says so in the API and in metrics."""

from dataclasses import replace

import pytest

from controller.families import ControllerFamilies
from controller.openapi import document
from exporters.exposition import render
from ledger.costing import Costing
from ledger.keeper import Keeper
from ledger.store import Store
from tests.controller.conforms import faults
from tests.controller.site_rig import site
from tests.ledger import books_rig
from tests.ledger.ledger_rig import at

SPEC = document()


def sources(store, window):
    with site(store, at(12)) as made:
        status, said = made.get(f"/allocation?window={window}")
    assert (status, faults(said, SPEC["components"]["schemas"]["Allocations"], SPEC)) == (200, [])
    return said["meta"]["sources"]


@pytest.mark.parametrize(
    ("hours", "told"), [("05,06", ["measured"]), ("05,07", ["measured", "prometheus"]), ("10,11", [])]
)
def test_an_allocation_tells_what_its_time_rests_on(tmp_path, hours, told):
    store = Store(str(tmp_path / "ledger"))
    store.claim_epoch()
    books_rig.lived(store)
    keeper = Keeper(store, Costing(store, books_rig.rules()), cluster="eu")
    booked = [books_rig.agent("a", at(5)), replace(books_rig.agent("a", at(6)), source="prometheus")]
    keeper.keep(booked, since=at(5), now=at(7))
    first, last = hours.split(",")
    assert sources(store, f"2026-11-01T{first}:00:00Z,2026-11-01T{last}:00:00Z") == told


@pytest.mark.parametrize("simulated", [True, False])
def test_the_metrics_page_says_whether_the_books_are_simulated(tmp_path, simulated):
    with site(Store(str(tmp_path / "ledger")), at(12)) as made:
        families = ControllerFamilies(lambda: replace(made.stand(), simulated=simulated))
        (told,) = [each for each in families.metrics() if each.metric.name == "wattledger_simulated"]
    assert render([told], openmetrics=False).decode().endswith(f"\nwattledger_simulated {int(simulated)}\n")
