from agent.books import Books, DeviceMeter, Meter
from agent.economics_settings import EconomicsSettings
from agent.entry import CounterBase, Entry
from agent.hour_clock import HourClock
from agent.work import HELD_BACK_NS, WorkBooker, latency_sum, tenant_weights
from collectors.clock import NS_PER_SECOND
from collectors.holder import NOBODY, Holder
from collectors.serving_counters import LatencyGain, PageGain
from collectors.serving_memory import PageMemory
from collectors.serving_values import PageReading, TenantCap
from ledger.hours import CellKey
from tests.agent.pages import answer, page, silence

HOUR = 1_763_791_200
CHAT = Holder("container", "chat")
OUT = ("llama", "", "output_tokens")
KEY = "http://h:8000/metrics"


class Rig:
    """Books opened at monotonic 0, on a full hour of the wall clock."""

    def __init__(self, holder=CHAT):
        self.books = Books("boot", [(0, HOUR * NS_PER_SECOND)])
        self.holder = holder
        self.open()

    def open(self):
        self.booker = WorkBooker(self.books, HourClock(self.books.segments), self, EconomicsSettings())

    def holder_of(self, target):
        return self.holder

    def book(self, seconds, *results):
        entry = Entry(round(seconds * NS_PER_SECOND))
        booked = self.booker.book(entry, results, (HOUR + seconds) * NS_PER_SECOND)
        self.books.apply(entry)
        return booked

    def read(self, seconds, work, **more):
        return self.book(seconds, answer(seconds, page(work, **more)))

    def amounts(self):
        return {(key.holder, key.tenant, key.kind): meter.amount for key, meter in self.books.work.meters.items()}


def test_what_a_page_gains_is_its_holders():
    rig = Rig()
    assert rig.read(10, {OUT: 100}) == {CHAT}
    rig.read(25, {OUT: 160})
    assert rig.amounts() == {("chat", "", "output_tokens"): 60}


def test_prefill_and_decode_time_stand_beside_the_work_in_nanoseconds():
    rig = Rig()
    rig.read(10, {OUT: 0}, phases={("llama", "prefill"): 1.0})
    rig.read(25, {OUT: 5}, phases={("llama", "prefill"): 1.5})
    assert rig.amounts()["chat", "", "prefill_ns"] == 500_000_000


def test_work_over_an_hours_end_is_spread_over_both_hours_by_time():
    rig = Rig()
    rig.read(3590, {OUT: 0})
    rig.read(3605, {OUT: 31})
    by_hour = {hour: sum(book.work.values()) for hour, book in rig.books.hours.items()}
    assert by_hour == {HOUR: 21, HOUR + 3600: 10}


def test_a_page_that_was_read_and_had_not_grown_ends_the_stretch_that_a_later_gain_is_spread_over():
    rig = Rig()
    rig.read(3000, {OUT: 0})
    rig.read(3610, {OUT: 0})
    rig.open()
    rig.read(3625, {OUT: 31})
    assert {hour: sum(book.work.values()) for hour, book in rig.books.hours.items() if book.work} == {HOUR + 3600: 31}


def test_an_engine_that_started_after_the_books_were_opened_is_counted_from_its_start():
    rig = Rig()
    rig.read(100, {OUT: 40}, start=HOUR + 50)
    assert rig.amounts() == {("chat", "", "output_tokens"): 40}


def test_an_engine_that_started_before_or_does_not_tell_is_counted_from_its_first_page():
    for start in (HOUR - 50, None):
        rig = Rig()
        rig.read(100, {OUT: 40}, start=start)
        assert rig.amounts() == {}


def test_a_page_that_was_given_up_once_is_never_counted_from_zero_again():
    rig = Rig()
    rig.read(100, {OUT: 40}, start=HOUR + 50)
    rig.books.monotonic_ns = 5000 * NS_PER_SECOND
    rig.booker.views.clear()
    rig.books.work.give_up(rig.booker.retire([]))
    assert rig.books.work.bases[KEY].state == ""
    rig.read(5100, {OUT: 45}, start=HOUR + 50)
    rig.read(5115, {OUT: 47}, start=HOUR + 50)
    assert rig.amounts() == {("chat", "", "output_tokens"): 42}


def test_a_page_that_is_still_read_is_not_given_up():
    rig = Rig()
    rig.read(100, {OUT: 40})
    rig.books.monotonic_ns = 5000 * NS_PER_SECOND
    assert rig.booker.retire([]) == []


def test_a_page_whose_holder_is_not_known_yet_loses_nothing():
    rig = Rig()
    rig.read(10, {OUT: 100})
    rig.holder = None
    assert rig.read(25, {OUT: 110}) == set()
    rig.holder = CHAT
    rig.read(40, {OUT: 130})
    assert rig.amounts() == {("chat", "", "output_tokens"): 30}


def test_a_page_whose_holder_stays_unknown_is_nobodys_and_said_so_once(caplog):
    rig = Rig(holder=None)
    late = 10 + HELD_BACK_NS // NS_PER_SECOND
    for seconds, tokens in ((10, 0), (25, 5), (late, 9), (late + 15, 12), (late + 30, 20)):
        rig.read(seconds, {OUT: tokens})
    assert rig.amounts() == {(NOBODY.name, "", "output_tokens"): 11}
    said = f"serving page {KEY}: nobody is known who holds its devices, so its work is nobody's; name its holder under"
    assert [record.message for record in caplog.records] == [f"{said} serving.targets"]


def test_a_page_that_is_away_is_shown_down_without_its_last_gauges_and_goes_on_from_its_base():
    rig = Rig()
    rig.book(10, answer(10, page({OUT: 100}, gauges={("llama", "queue_depth"): 3.0})))
    assert rig.booker.views[KEY].gauges == {("llama", "queue_depth"): 3.0}
    rig.book(25, silence(25))
    view = rig.booker.views[KEY]
    assert (view.up, view.gauges, view.engine, view.message) == (False, {}, "vllm", "it does not answer")
    rig.read(40, {OUT: 101})
    assert rig.amounts() == {("chat", "", "output_tokens"): 1}


def test_a_guessed_page_that_is_none_is_not_shown_and_one_that_ceased_is():
    rig = Rig()
    rig.book(10, silence(10, probe=True))
    assert rig.booker.views == {}
    rig.book(25, answer(25, page({OUT: 1}), probe=True))
    rig.book(40, silence(40, probe=True))
    assert rig.booker.views[KEY].up is False


def test_a_page_that_is_no_longer_read_is_no_longer_shown():
    rig = Rig()
    rig.read(10, {OUT: 1})
    rig.book(71)
    assert rig.booker.views == {}


def test_the_names_of_a_pages_series_are_saved_once_and_its_values_go_on_over_a_restart():
    rig, memory = Rig(), PageMemory(PageReading(), TenantCap(0))
    text = 'vllm:generation_tokens_total{model_name="llama"} %d\nvllm:e2e_request_latency_seconds_sum 1.5\n'

    def read(seconds, tokens):
        rig.book(seconds, answer(seconds, memory.read((text % tokens).encode())))
        return rig.books.work.series.get(KEY, ""), rig.books.work.bases[KEY].state

    read(10, 100)
    series, _ = read(25, 110)
    later, state = read(40, 130)
    assert "llama" in series
    assert later is series
    assert "llama" not in state
    rig.open()
    read(55, 137)
    assert rig.amounts() == {("chat", "", "output_tokens"): 37}


def test_a_base_whose_series_are_lost_sets_a_new_one(caplog):
    rig = Rig()
    rig.books.work.bases[KEY] = CounterBase(1, '[null,"100",[]]')
    rig.read(10, {OUT: 100}, start=HOUR + 5)
    assert rig.amounts() == {}
    assert "counted from what it shows next" in caplog.text


def test_a_damaged_base_sets_a_new_one_and_says_so(caplog):
    rig = Rig()
    rig.books.work.bases[KEY] = CounterBase(1, "damaged")
    rig.read(10, {OUT: 100}, start=HOUR + 5)
    rig.read(25, {OUT: 101}, start=HOUR + 5)
    assert rig.amounts() == {("chat", "", "output_tokens"): 1}
    assert "counted from what it shows next" in caplog.text


def cost(rig, numerator, holder="chat"):
    rig.books.devices["GPU-1"] = DeviceMeter("H100", energy_mj=0)
    rig.books.meters[CellKey("GPU-1", "", "container", holder, "active", "sm")] = Meter(1, 1, numerator)


def tenants(rig):
    return {key.tenant: meter.cost_numerator for key, meter in rig.books.work.tenants.items()}


def asked(alice, bob):
    return {("llama", "alice", "output_tokens"): alice, ("llama", "bob", "input_tokens"): bob}


def test_what_a_holder_cost_goes_to_its_tenants_by_the_weight_of_their_tokens():
    rig = Rig()
    cost(rig, 1000)
    rig.read(10, asked(0, 0))
    rig.read(25, asked(1, 1))
    cost(rig, 1500)
    rig.read(40, asked(2, 2))

    # What it cost before it had tenants is nobody's; then 500 by 4 to 1.
    assert tenants(rig) == {"": 1000, "alice": 400, "bob": 100}


def test_what_it_cost_while_nobody_asked_is_no_tenants():
    rig = Rig()
    cost(rig, 1000)
    rig.read(10, asked(0, 0))
    rig.read(25, asked(1, 1))
    cost(rig, 1700)
    rig.read(40, asked(1, 1))
    assert tenants(rig) == {"": 1700}


def test_a_holder_without_tenants_has_no_costs_of_tenants():
    rig = Rig()
    cost(rig, 1000)
    rig.read(10, {OUT: 0})
    rig.read(25, {OUT: 5})
    assert tenants(rig) == {}


def test_the_cost_of_a_holder_with_two_pages_waits_until_both_have_answered():
    rig = Rig()
    for seconds, numerator, key, amounts in (
        (10, 0, "a", (0, 0)),
        (11, 0, "b", (0, 0)),
        (25, 100, "a", (10, 0)),
        (26, 200, "b", (0, 40)),
        (40, 300, "a", (20, 0)),
    ):
        cost(rig, numerator)
        rig.book(seconds, answer(seconds, page(asked(*amounts)), key=key))
    assert tenants(rig) == {"": 100, "alice": 100, "bob": 100}
    assert sum(tenants(rig).values()) == 300


def test_an_unpriced_holder_has_no_costs_of_tenants():
    rig = Rig()
    cost(rig, None)
    rig.read(10, asked(0, 0))
    rig.read(25, asked(1, 1))
    assert tenants(rig) == {}


def test_an_engine_that_counts_no_tokens_is_weighed_by_requests():
    work = {("m", "a", "requests"): 3, ("m", "b", "requests"): 1, ("m", "b", "steps"): 9}
    assert tenant_weights(PageGain(work, {}, {}), EconomicsSettings()) == {"a": 3, "b": 1}


def test_each_observation_lands_in_one_bucket_and_none_in_less_than_none():
    gain = LatencyGain({0.5: 4, 0.1: 3, 1.0: 2, float("inf"): 9}, 9, 5)
    assert latency_sum(gain).buckets == {100_000_000: 3, 500_000_000: 1, 1_000_000_000: 0}
    assert latency_sum(gain).count == 9
