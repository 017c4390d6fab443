from agent.books import Books, Meter
from agent.entry import CounterBase, Entry, LatencyRow, TenantKey, WorkRow
from agent.log_file import decode_line, encode_line
from agent.state_format import Interner, decode_books, decode_entry, encode_books, encode_entry
from agent.work_books import FINISHED, MAX_GIVEN_UP, OTHER, WorkBooks
from ledger.hours import CellKey, HourBook, LatencyKey, LatencySum, WorkKey, from_json, to_json

HOUR = 1_763_791_200


def key(kind="output_tokens", holder="chat", tenant="", model="llama"):
    return WorkKey("pod", holder, model, tenant, kind)


def latency_key(holder="chat"):
    return LatencyKey("pod", holder, "llama", "time_to_first_token")


def entry(at_ns=5, *, amount=7, holder="chat", **more):
    return Entry(
        at_ns,
        work=[WorkRow(HOUR, key(holder=holder), amount)],
        latency=[LatencyRow(HOUR, latency_key(holder), LatencySum(3, 900, {100: 2, 500: 0}))],
        tenant_costs={TenantKey("pod", holder, "alice"): 11},
        counter_bases={"page": CounterBase(at_ns, '{"a":1}')},
        counter_series={"page": f"series {at_ns}"},
        **more,
    )


def test_work_stands_in_its_hour_and_in_its_meter():
    books = Books("boot", [(0, 0)])
    books.apply(entry())
    books.apply(entry(9, amount=2))

    assert books.hours[HOUR].work == {key(): 9}
    assert books.hours[HOUR].latency[latency_key()] == LatencySum(6, 1800, {100: 4, 500: 0})
    assert books.work.meters[key()].amount == 9
    assert books.work.tenants[TenantKey("pod", "chat", "alice")].cost_numerator == 22
    assert books.work.bases == {"page": CounterBase(9, '{"a":1}')}


def test_an_entry_and_the_books_come_back_from_the_disk_as_they_were():
    one = entry()
    back = decode_entry(decode_line(encode_line(encode_entry(one, Interner()))), [])
    assert back == one
    books = Books("boot", [(0, 0)])
    books.apply(one)
    assert decode_books(decode_line(encode_line(encode_books(books)))).work == WorkBooks(
        books.work.meters, books.work.latency, books.work.tenants, books.work.bases, {"page": "series 5"}
    )


def test_entries_that_wait_together_keep_all_their_work():
    one = entry()
    one.merge(entry(9, amount=2))
    books = Books("boot", [(0, 0)])
    books.apply(one)

    assert books.work.series == {"page": "series 9"}
    assert books.work.meters[key()].amount == 9
    assert books.work.tenants[TenantKey("pod", "chat", "alice")].cost_numerator == 22


def test_an_hour_of_the_journal_keeps_work_and_latency_and_one_without_is_read_too():
    books = Books("boot", [(0, 0)])
    books.apply(entry())
    plain = decode_line(encode_line(to_json(books.hours[HOUR])))

    assert from_json(plain) == books.hours[HOUR]
    assert plain["work"] == [["pod", "chat", "llama", "", "output_tokens", 7]]
    assert dict(zip(plain["latency_columns"], plain["latency"][0], strict=True))["buckets"] == [[100, 2], [500, 0]]
    for name in ("work_columns", "work", "latency_columns", "latency"):
        del plain[name]
    assert from_json(plain) == HourBook(HOUR)


def test_a_full_family_folds_what_comes_later_and_what_stood_stands():
    books = Books("boot", [(0, 0)], series_cap=1)
    books.apply(entry(holder="first"))
    books.apply(entry(holder="second"))

    assert {k.holder: meter.folded for k, meter in books.work.meters.items()} == {"first": False, "second": True}


def test_a_finished_holder_leaves_its_work_and_cost_behind_but_not_its_latency():
    books = Books("boot", [(0, 0)], series_cap=1)
    books.apply(entry(holder="first"))
    books.apply(entry(holder="second"))

    books.work.retire(books.finished_workers(set(), before_ns=6))

    assert {k.holder: meter.amount for k, meter in books.work.meters.items()} == {FINISHED: 7, OTHER: 7}
    assert {k.holder: meter.cost_numerator for k, meter in books.work.tenants.items()} == {FINISHED: 22}
    assert books.work.latency == {}
    assert books.finished_workers(set(), before_ns=99) == []


def test_a_holder_that_works_holds_or_is_present_is_not_finished():
    books = Books("boot", [(0, 0)])
    books.apply(entry())
    assert books.finished_workers(set(), before_ns=5) == []
    assert books.finished_workers({("pod", "chat")}, before_ns=6) == []
    books.meters[CellKey("GPU-1", "", "pod", "chat", "idle", "exclusive")] = Meter()
    assert books.finished_workers(set(), before_ns=6) == []


def test_a_page_that_was_given_up_is_remembered_without_its_counters_and_the_oldest_are_forgotten():
    books = Books("boot", [(0, 0)])
    for number in range(MAX_GIVEN_UP + 5):
        books.work.bases[f"page-{number}"] = CounterBase(number, "state")
    books.work.give_up([f"page-{number}" for number in range(1, MAX_GIVEN_UP + 4)])

    assert books.work.bases["page-0"] == CounterBase(0, "state")
    assert "page-3" not in books.work.bases
    assert books.work.bases["page-4"] == CounterBase(4, "")


def test_after_a_reboot_work_counts_from_zero_and_pages_of_other_machines_go_on():
    books = Books("boot", [(0, 0)])
    books.apply(entry())
    books.begin_boot("next", [(77, 0)])

    assert not books.work.meters
    assert books.work.bases == {"page": CounterBase(77, '{"a":1}')}
    assert books.hours[HOUR].work == {key(): 7}
