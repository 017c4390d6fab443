"""Where the ledger is, and for how long it keeps what."""

import pytest
from pydantic import ValidationError

from ledger.ledger_settings import LedgerSettings, ledger_root


def test_the_defaults():
    assert LedgerSettings().model_dump() == {"root": "", "roll_after_days": 90, "history_days": 35}


def test_without_a_root_the_ledger_is_in_the_data_directory():
    assert ledger_root(LedgerSettings(), "/var/lib/wattledger/") == "/var/lib/wattledger/ledger"
    assert ledger_root(LedgerSettings(root="s3://books/fleet/"), "/var/lib/wattledger") == "s3://books/fleet"


@pytest.mark.parametrize("root", ["books", "./books", "s3://", "s3:///prefix", "gs://books", "http://books"])
def test_what_is_no_place_is_refused(root):
    with pytest.raises(ValidationError, match=r"allowed: an absolute directory, or s3://bucket/prefix"):
        LedgerSettings(root=root)


def test_credentials_in_the_address_are_refused_without_showing_them():
    with pytest.raises(ValidationError) as caught:
        LedgerSettings(root="s3://AKIA123:hunter2@books")
    (error,) = caught.value.errors(include_input=False)
    assert "root bears credentials: take them out, set AWS_ACCESS_KEY_ID" in error["msg"]
    assert error["loc"] == ()  # the section: the value of a key would be shown
    assert "hunter2" not in error["msg"]


@pytest.mark.parametrize("setting", [{"roll_after_days": 0}, {"history_days": 0}, {"history_days": 4000}, {"key": "x"}])
def test_what_is_out_of_bounds_or_unknown_is_refused(setting):
    with pytest.raises(ValidationError):
        LedgerSettings(**setting)
