"""The FOCUS validator finds no true fault in what is exported; what it finds wrongly is listed, with the reason."""

import re
from pathlib import Path

import polars as pl
import pytest

from exporters.focus_file import write_focus
from tests.exporters.test_focus import ODD
from tests.integration.focus_validator import environment, failures
from tests.ledger.books_rig import DAY, HOUR, LINES, books

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "focus.md"

FALSE_POSITIVES = {
    "CommitmentDiscountStatus-C-004-C": "asks for a status where CommitmentDiscountId is null: the rule's condition is"
    " the wrong way round",
    "CapacityReservationStatus-C-004-C": "asks for a status where CapacityReservationId is null, likewise",
    "InvoiceId-C-005-C": "asks for an invoice of every row: the rule's condition is empty",
    "EffectiveCost-C-005-C": "asks for 0 of every purchase; FOCUS asks it of those that cover later charges",
}
IN_CSV = {
    "BillingAccountId-C-002-M": "types are guessed from the text: accounts of digits alone are taken for numbers",
    "BillingAccountName-C-001-M": "likewise",
}
"""By rule, with the reason; whatever is made up of one fails too."""


@pytest.fixture(scope="module")
def python():
    return environment()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """With an hour that no bill reached, and a charge of every kind."""
    lines = [each for each in LINES if each["line_id"] != "a2"]
    return books(tmp_path_factory.mktemp("books") / "ledger", lines=(*lines, *ODD))


@pytest.fixture(scope="module")
def billed(tmp_path_factory):
    """Every hour of it."""
    return books(tmp_path_factory.mktemp("billed") / "ledger", lines=(*LINES, *ODD))


def exported(store, path, **how):
    write_focus(store, path, DAY, DAY + 48 * HOUR, **how)
    return path


def faults(python, file, allowed):
    """Failures but for the allowed ones and the rules that are made up of others; and all failures."""
    failed = failures(python, file)
    whole = {f"{name.split('-', 1)[0]}-{kind}" for name in allowed for kind in ("C-000-C", "C-000-M", "C-002-C")}
    return failed - set(allowed) - whole - {"CostAndUsage-D-000-M", "CostAndUsage-D-002-M"}, failed


def test_a_parquet_file_of_days_has_no_true_fault(python, store, tmp_path):
    found, failed = faults(python, exported(store, tmp_path / "f.parquet"), FALSE_POSITIVES)
    assert found == set()
    assert set(FALSE_POSITIVES) <= failed, "a false positive is gone: take it off the list"


def test_a_csv_file_of_hours_has_no_true_fault(python, billed, tmp_path):
    allowed = FALSE_POSITIVES | IN_CSV
    found, failed = faults(python, exported(billed, tmp_path / "f.csv", step="1h"), allowed)
    assert found == set()
    assert set(allowed) <= failed, "a false positive is gone: take it off the list"


TRUE_FAULTS = {
    "ChargeCategory-C-003-M": {"ChargeCategory": pl.lit("Consumption")},
    "BillingCurrency-C-003-M": {"BillingCurrency": pl.lit("Dollars")},
    "ServiceCategory-C-003-M": {"ServiceCategory": pl.lit("Graphics")},
    "EffectiveCost-C-003-M": {"EffectiveCost": pl.lit(None)},
    "ListUnitPrice-C-008-M": {"ListUnitPrice": pl.lit(-1)},
}


def test_true_faults_are_found(python, store, tmp_path):
    path = exported(store, tmp_path / "f.parquet")
    rows = pl.read_parquet(path)
    wrong = [
        value.cast(rows.schema[name]).alias(name) for fault in TRUE_FAULTS.values() for name, value in fault.items()
    ]
    rows.with_columns(wrong).write_parquet(path)
    found, _ = faults(python, path, FALSE_POSITIVES)
    assert set(TRUE_FAULTS) <= found


def test_the_guide_lists_each_false_positive():
    listed = set(re.findall(r"^\| `([A-Za-z]+-[ACD]-\d{3}-[MCO])` \|", GUIDE.read_text(encoding="utf-8"), re.MULTILINE))
    assert listed == {*FALSE_POSITIVES, *IN_CSV}
