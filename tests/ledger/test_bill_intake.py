import json
import shutil
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest

from collectors.bill_files import Deliveries
from collectors.bill_shelf import Directory
from collectors.errors import Unavailable
from ledger.bill_changes import changed_periods
from ledger.bill_intake import Source, changed_since
from ledger.charge_lines import Reading
from ledger.fx import Rates
from ledger.tables import BILLS, CHARGES
from tests.collectors.bucket_rig import KEYS, BucketServer
from tests.ledger.bill_books import Books
from tests.ledger.bill_rig import CUR, folder

NOVEMBER = date(2026, 11, 1)


def hour(number):
    start = datetime(2026, 11, 5, number, tzinfo=UTC)
    return {"ChargePeriodStart": start.isoformat(), "ChargePeriodEnd": (start + timedelta(hours=1)).isoformat()}


@pytest.fixture
def books(tmp_path):
    return Books(tmp_path)


def test_a_delivery_is_booked_once_and_entered(books):
    books.put("a.csv", {}, {"BilledCost": "2"})
    taken = books.take()
    assert taken.booked == [f"acme:a.csv/2026-11/{taken.booked[0][-12:]}"]
    assert books.billed() == 3.25
    assert books.register() == [("acme:a.csv", "booked", 2)]
    assert books.charges()["bill_id"].unique().to_list() == taken.booked


def test_what_is_booked_is_not_read_again(books):
    books.put("a.csv", {})
    books.take()
    version = books.store.version(CHARGES)
    assert books.take().booked == []
    books.restart()
    assert books.take().booked == []
    assert books.store.version(CHARGES) == version


def test_a_later_delivery_takes_the_place_of_the_former(books):
    books.put("a.csv", {}, {"BilledCost": "2"})
    books.take()
    books.put("a.csv", {}, {"BilledCost": "5"}, {"BilledCost": "7"})
    books.now += timedelta(hours=1)
    books.take()
    assert books.billed() == 13.25
    assert books.register() == [("acme:a.csv", "replaced", 2), ("acme:a.csv", "booked", 3)]


def test_only_what_changed_is_told(books):
    first, second = {"ResourceId": "i-00000001"}, {"ResourceId": "i-00000002"}
    books.put("a.csv", {**first, **hour(5)}, {**first, **hour(6)}, {**second, **hour(5)})
    assert len(books.changed(books.take())) == 3
    books.put("a.csv", {**first, **hour(5)}, {**first, **hour(6), "EffectiveCost": "0.9"}, {**second, **hour(5)})
    assert [(row[0], row[1].hour) for row in books.changed(books.take())] == [("i-00000001", 6)]
    assert books.changed(books.take()) == []


def test_a_line_that_went_away_is_a_change_as_well(books):
    books.put("a.csv", hour(5), hour(6))
    books.take()
    books.put("a.csv", hour(5))
    assert [row[1].hour for row in books.changed(books.take())] == [6]


def test_lines_in_another_order_change_nothing(books):
    rows = [{**hour(number), "BilledCost": str(number)} for number in range(9)]
    books.put("a.csv", *rows)
    books.take()
    books.put("a.csv", *rows[::-1])
    taken = books.take()
    assert len(taken.booked) == 1
    assert books.changed(taken) == []


def test_a_month_that_a_file_no_longer_has_is_taken_out(books):
    october = {"BillingPeriodStart": "2026-10-01T00:00:00Z", "BilledCost": "100"}
    books.put("a.csv", {}, october)
    books.take()
    books.put("a.csv", {})
    books.take()
    assert books.billed() == 1.25


def test_a_refused_bill_is_kept_with_its_reason_and_the_good_ones_are_booked(books):
    books.put("bad.csv", {"BilledCost": "1,25"})
    books.put("good.csv", {})
    taken = books.take()
    assert len(taken.refused) == 1
    assert taken.refused[0].startswith("acme:bad.csv: line 2: BilledCost: '1,25' is no amount")
    assert books.billed() == 1.25
    row = books.store.scan(BILLS).filter(pl.col("state") == "refused").collect().row(0, named=True)
    assert (row["export"], row["reason"], row["billed_nano_usd"]) == ("acme:bad.csv", taken.refused[0], None)


def test_a_refused_bill_leaves_the_former_one_in_force(books):
    books.put("a.csv", {})
    books.take()
    books.put("a.csv", {"BilledCost": "x"})
    assert books.take().refused
    assert books.billed() == 1.25


def test_a_refused_bill_that_is_removed_is_refused_no_more_until_it_comes_back(books):
    books.put("a.csv", {})
    copy = books.put("copy.csv", {})
    other = books.put("other.csv", {"BilledCost": "x"})
    assert len(books.take().refused) == 2
    content = copy.read_bytes()
    copy.unlink(), books.take()
    assert sorted(books.register()) == [
        ("acme:a.csv", "booked", 1),
        ("acme:copy.csv", "replaced", None),
        ("acme:other.csv", "refused", None),
    ]
    copy.write_bytes(content), other.unlink()
    assert len(books.take().refused) == 1
    assert ("acme:copy.csv", "refused", None) in books.register()
    assert books.billed() == 1.25


def test_a_refused_bill_that_waits_for_more_of_it_was_not_removed(books):
    folder = "cur/20261101-20261201"
    (books.bills / folder).mkdir(parents=True)
    books.put(f"{folder}/r-1.csv", {"BilledCost": "x"})
    manifest = books.bills / folder / "report-Manifest.json"
    manifest.write_text(json.dumps({"reportKeys": [f"{folder}/r-1.csv"]}))
    assert len(books.take().refused) == 1
    before = books.register()
    manifest.write_text(json.dumps({"reportKeys": [f"{folder}/r-1.csv", f"{folder}/r-2.csv"]}))
    assert len(books.take().waiting) == 1
    assert books.register() == before
    assert [state for _, state, _ in before] == ["refused"]


def test_a_refused_bill_that_was_removed_is_forgotten_beside_another_that_never_ends(books):
    for root in ("old", "cur"):
        folder = f"{root}/20261101-20261201"
        (books.bills / folder).mkdir(parents=True)
        (books.bills / folder / "report-Manifest.json").write_text(json.dumps({"reportKeys": [f"{folder}/r-1.csv"]}))
    books.put("old/20261101-20261201/r-1.csv", {"BilledCost": "x"})
    taken = books.take()
    assert (len(taken.refused), len(taken.waiting)) == (1, 1)
    shutil.rmtree(books.bills / "old")
    assert len(books.take().waiting) == 1
    assert [state for _, state, _ in books.register()] == ["replaced"]


def test_a_refused_bill_is_not_read_again_until_it_changes_or_is_read_differently(books):
    books.put("a.csv", {"BillingCurrency": "EUR"})
    assert books.take().refused
    assert not books.take().refused
    books.rates = {"EUR": ((NOVEMBER, Decimal("1.10")),)}
    assert books.take().booked
    assert books.billed() == 1.375
    assert sorted(state for _, state, _ in books.register()) == ["booked", "replaced"]


def test_the_same_file_under_another_name_is_refused(books):
    books.put("a.csv", {}, {"BilledCost": "2"})
    books.take()
    books.put("copy.csv", {}, {"BilledCost": "2"})
    why = books.take().refused[0]
    assert why == (
        "acme:copy.csv: 2 of its 2 lines are among the 2 that are booked from acme:a.csv already; a later delivery of"
        " the same bill takes its place under the same name, a copy is to be removed"
    )
    assert books.billed() == 3.25


def test_a_month_that_grows_under_new_names_is_refused_and_booked_once_under_the_former_name(books):
    so_far = [{**hour(number % 24), "BilledCost": "1", "ResourceId": f"i-{number:08d}"} for number in range(25)]
    books.put("to-the-3rd.csv", *so_far[:4])
    books.take()
    books.put("to-the-9th.csv", *so_far[:10])
    whole = books.put("to-the-25th.csv", *so_far)
    refused = books.take().refused
    assert ["4 of its 25 lines are among the 4 that" in why for why in refused] == [True, False]
    assert "4 of its 10 lines are among the 4 that are booked from acme:to-the-3rd.csv already" in refused[1]
    assert books.billed() == 4
    whole.replace(books.bills / "to-the-3rd.csv")
    books.take()
    assert books.billed() == 25


def test_files_that_share_some_days_are_refused_and_those_with_a_line_alike_are_not(books):
    lines = [{**hour(number % 24), "BilledCost": "1", "ResourceId": f"i-{number:08d}"} for number in range(38)]
    books.put("first-days.csv", *lines[:20])
    books.take()
    books.put("rolling.csv", *lines[17:37])
    assert "3 of its 20 lines are among the 20" in books.take().refused[0]
    (books.bills / "rolling.csv").unlink()
    books.put("next-days.csv", *lines[19:])
    assert len(books.take().booked) == 1


def test_a_year_so_far_beside_one_of_its_months_is_refused(books):
    october = {"BillingPeriodStart": "2026-10-01T00:00:00Z"}
    books.put("november.csv", {}, {"BilledCost": "2"})
    books.take()
    books.put("year.csv", {}, {"BilledCost": "2"}, *[{**october, "BilledCost": f"{cost}"} for cost in range(3, 40)])
    assert "2 of its 39 lines are among the 2" in books.take().refused[0]


def test_the_next_month_another_account_and_a_small_correction_are_booked_beside(books):
    books.put("a.csv", *[{**hour(number), "BilledCost": "1"} for number in range(9)])
    december = {"BillingPeriodStart": "2026-12-01T00:00:00Z", "BilledCost": "1"}
    books.put("december.csv", *[{**hour(number), **december} for number in range(9)])
    other = {"BillingAccountId": "222", "BilledCost": "1"}
    books.put("other.csv", *[{**hour(number), **other} for number in range(9)])
    books.put("correction.csv", {**hour(3), "BilledCost": "-0.25", "ChargeClass": "Correction"})
    taken = books.take()
    assert (len(taken.booked), taken.refused) == (4, [])
    assert books.billed() == 26.75


def test_a_file_with_other_lines_of_the_same_account_is_booked_beside(books):
    books.put("a.csv", {}, {"BilledCost": "2"})
    books.put("b.csv", {"BilledCost": "3"}, {"BilledCost": "4"})
    assert len(books.take().booked) == 2
    assert books.billed() == 10.25


def test_the_same_month_of_an_account_in_two_dialects_is_refused(books):
    books.put("a.csv", {})
    books.take()
    books.put("cur.csv", {}, form=CUR)
    why = books.take().refused[0]
    assert "2026-11 of account 111 is booked from acme:a.csv (focus-1.0) already; keep one of the two" in why


def test_a_bill_of_another_account_than_the_sources_is_refused(books):
    books.account = "999"
    books.put("a.csv", {})
    assert "is a bill of account 111, not of 999" in books.take().refused[0]


def test_a_death_between_the_charges_and_the_register_leaves_nothing_twice(books, monkeypatch):
    books.put("a.csv", {}, {"BilledCost": "2"})
    replace = books.store.replace

    def die(table, rows, where):
        if table is BILLS:
            raise KeyboardInterrupt
        return replace(table, rows, where)

    monkeypatch.setattr(books.store, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        books.take()
    monkeypatch.undo()
    books.restart()
    books.put("a.csv", {}, {"BilledCost": "2"}, {"BilledCost": "4"})
    books.take()
    assert books.billed() == 7.25
    assert books.register() == [("acme:a.csv", "booked", 3)]


def test_what_a_killed_process_left_in_the_scratch_directory_is_cleared(books):
    left = folder(books.scratch / "bill-left")
    (left / "part").write_bytes(b"x")
    books.take()
    assert list(books.scratch.iterdir()) == []


def test_nothing_is_left_in_the_scratch_directory(books):
    books.put("a.csv", {})
    books.put("bad.csv", {"BilledCost": "x"})
    books.take()
    assert list(books.scratch.iterdir()) == []


def test_changes_can_be_told_from_any_former_version(books):
    books.put("a.csv", hour(5))
    books.take()
    version = books.store.version(CHARGES)
    books.put("b.csv", {**hour(6), "BilledCost": "3"})
    books.take()
    books.put("c.csv", {**hour(7), "BilledCost": "4"})
    books.take()
    assert sorted(row[1].hour for row in changed_since(books.store, version, [NOVEMBER]).rows()) == [6, 7]


def test_a_month_is_closed_some_days_after_its_end_without_another_delivery(books):
    books.put("a.csv", {})
    books.take()
    books.now = datetime(2026, 12, 15, tzinfo=UTC)
    books.take()
    assert not books.store.scan(BILLS).collect()["complete"][0]
    books.now = datetime(2026, 12, 16, tzinfo=UTC)
    books.take()
    assert books.store.scan(BILLS).collect()["complete"][0]


def test_a_source_that_is_away_is_shown_and_the_others_go_on(books):
    books.put("a.csv", {})
    reading = Reading(Rates({}))
    gone = Source(Deliveries("gone", Directory(books.root / "gone")), reading)
    here = Source(Deliveries("acme", books.shelf), reading)
    taken = books.intake.take([gone, here])
    assert "check bills.sources" in taken.unavailable[0]
    assert len(taken.booked) == 1


def test_no_room_to_unpack_is_shown_and_tried_again(books, monkeypatch):
    books.put("a.csv", {})

    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pl.DataFrame, "write_ipc", full)
        taken = books.take()
    assert "a bill cannot be staged in" in taken.unavailable[0]
    assert "free room there" in taken.unavailable[0]
    assert books.register() == []
    assert books.take().booked


def test_sums_that_move_between_lines_of_one_kind_are_no_change():
    half = {"billed_nano_usd": [5, 5], "effective_nano_usd": [3, 3]}
    whole = {"billed_nano_usd": [10], "effective_nano_usd": [6]}
    texts = dict.fromkeys(("instance_id", "billing_account", "category", "stack_layer", "provider", "region"), "x")
    times = {"period_start": datetime(2026, 11, 1, tzinfo=UTC), "period_end": datetime(2026, 11, 2, tzinfo=UTC)}

    def frame(amounts):
        return pl.LazyFrame(amounts).with_columns(**{name: pl.lit(value) for name, value in (texts | times).items()})

    assert changed_periods(frame(half), frame(whole)).collect().is_empty()
    assert changed_periods(frame(half), frame(half | {"billed_nano_usd": [5, 6]})).collect().height == 1


@pytest.fixture
def bucket(monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    server = BucketServer()
    yield server
    server.close()


def test_bills_come_from_a_bucket_whose_permission_comes_late(books, bucket):
    bucket.put("bills/a.csv", books.put("a.csv", {}).read_bytes())
    books.shelf = bucket.shelf("bills/")
    bucket.denied.add("GET")
    assert "allow s3:ListBucket" in books.take().unavailable[0]
    bucket.denied.clear()
    assert len(books.take().booked) == 1
    assert books.billed() == 1.25


def test_fetching_that_fails_is_shown_and_tried_again(books, monkeypatch):
    books.put("a.csv", {})

    def away(*_args):
        raise Unavailable("the network is away")

    with monkeypatch.context() as patch:
        patch.setattr(Directory, "fetch", away)
        assert books.take().unavailable == ["the network is away"]
    assert len(books.take().booked) == 1
