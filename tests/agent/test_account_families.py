from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from agent.account_families import AccountFamilies
from agent.books import FINISHED, Books
from agent.entry import Base, Control, Entry, Row
from ledger.hours import CellKey, PriceNote, RowKey

NOTE = PriceNote(3_333_333_333, "config", "2026-01-01", "on_demand", False)


def books_of(rows, *, cap=1000, price="p"):
    books = Books("boot", [(0, 0)], series_cap=cap)
    entry = Entry(1, names={"GPU-1": "H100"}, prices={"p": NOTE}, bases={"GPU-1": Base(1, 1, 0)})
    for holder, account, method, ns, mj in rows:
        cell = CellKey("GPU-1", "", "container" if holder else "none", holder, account, method)
        entry.rows.append(Row(0, RowKey(cell, "whole", price), ns, mj))
        entry.controls.append(Control(0, "GPU-1", ns, mj, price))
    books.apply(entry)
    return books


def shown(books, families=None):
    """Values by family name and label string."""
    found = {}
    for family in (families or AccountFamilies("n")).families(books):
        for prefix, value in family.lines:
            labels = prefix.partition("{")[2].rpartition("}")[0].removeprefix('node="n",gpu_uuid="GPU-1"')
            found[family.metric.name, labels.removeprefix(",")] = Fraction(str(value))
    return found


def test_amounts_are_exact_to_the_last_unit():
    found = shown(books_of([("a", "active", "sm", 1_234_567_890_123_456_789, 10**15 + 1)]))

    labels = 'mig="",account="active",method="sm",holder_kind="container",holder="a"'
    assert found["wattledger_account_gpu_seconds_total", labels] == Fraction("1234567890.123456789")
    assert found["wattledger_gpu_energy_joules_total", ""] == Fraction("1000000000000.001")


def test_energy_and_cost_sum_over_methods():
    found = shown(books_of([("a", "active", "sm", 10, 1), ("a", "active", "memory", 20, 2)]))

    assert found[
        "wattledger_account_energy_joules_total", 'mig="",account="active",holder_kind="container",holder="a"'
    ] == (Fraction(3, 1000))


def test_what_was_never_priced_has_no_cost():
    names = {name for name, _ in shown(books_of([("a", "active", "sm", 10, 1)], price=""))}

    assert not {name for name in names if "cost" in name}


def test_past_the_cap_holders_share_one_series_and_stay_there():
    books = books_of([(name, "active", "sm", 10, 1) for name in "abcde"], cap=2)
    families = AccountFamilies("n")

    found = shown(books, families)

    holders = {
        labels.rpartition("holder=")[2] for name, labels in found if name == "wattledger_account_gpu_seconds_total"
    }
    assert holders == {'"a"', '"b"', '"__other__"'}
    assert found["wattledger_series_folded_holders", 'node="n",family="wattledger_account_gpu_seconds_total"'] == 3
    books.retire([key for key in books.meters if key.holder == "a"])
    other = 'mig="",account="active",method="sm",holder_kind="",holder="__other__"'
    assert shown(books, families)["wattledger_account_gpu_seconds_total", other] == Fraction(30, 10**9)


def test_what_nobody_holds_does_not_count_towards_the_cap():
    books = books_of([("", "unallocated", "exclusive", 1, 1), ("a", "idle", "exclusive", 1, 1)], cap=1)

    assert not any(meter.folded for meter in books.meters.values())


def test_a_retired_holder_leaves_its_amounts_behind():
    books = books_of([("a", "active", "sm", 10, 1), ("b", "active", "sm", 5, 1)])
    books.retire([key for key in books.meters if key.holder == "a"])

    finished = f'mig="",account="active",method="sm",holder_kind="",holder="{FINISHED}"'
    assert shown(books)["wattledger_account_gpu_seconds_total", finished] == Fraction(10, 10**9)


def test_a_device_that_is_let_go_is_not_shown():
    books = books_of([("a", "active", "sm", 10, 1)])
    families = AccountFamilies("n")
    families.families(books)
    books.apply(Entry(2, gone=["GPU-1"]))

    assert {name for name, _ in shown(books, families)} == {"wattledger_series_folded_holders"}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "a", "b", "c", "d"]),
            st.sampled_from(["active", "idle"]),
            st.sampled_from(["sm", "equal"]),
            st.integers(0, 10**18),
            st.integers(0, 10**15),
        ),
        min_size=1,
    ),
    st.integers(1, 6),
)
def test_the_series_of_a_device_add_up_to_its_control_figures(rows, cap):
    found = shown(books_of(rows, cap=cap))

    for account, control, loss in (
        ("wattledger_account_gpu_seconds_total", "wattledger_gpu_accounted_seconds_total", 0),
        ("wattledger_account_energy_joules_total", "wattledger_gpu_energy_joules_total", 0),
        ("wattledger_account_list_cost_usd_total", "wattledger_gpu_list_cost_usd_total", Fraction(len(rows), 10**15)),
    ):
        total = sum(value for (name, _), value in found.items() if name == account)
        assert abs(total - found[control, ""]) <= loss


def test_labels_of_holders_that_are_gone_are_forgotten():
    families = AccountFamilies("n")
    each = [
        books_of([(f"job-{number}", account, "sm", 1, 1) for account in ("active", "idle")]) for number in range(50)
    ]
    for books in each:
        families.families(books)

    caches = [families._gaps.cache, *(assigned.cache for assigned in families._assigned)]
    assert {len(cache._known) for cache in caches} == {1, 2}
