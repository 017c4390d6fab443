"""A page that is read by the memory of the one before it says what reading it in full says."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.openmetrics import PageRefused
from collectors.serving_counters import CounterDeltas
from collectors.serving_engines import BY_NAME, ENGINES, mapped_names
from collectors.serving_memory import PageMemory
from collectors.serving_page import EngineUnknown, PageReading, TenantCap, read_engine_page
from tests.engines.load import Load
from tests.engines.server import ScriptedEngine

LINES = (
    "# HELP vllm:prompt_tokens_total What was asked.",
    'vllm:prompt_tokens_total{engine="0",model_name="m"} 5',
    'vllm:prompt_tokens_total{engine="1",model_name="m"} 7.5',
    'vllm:prompt_tokens_total{engine="2",model_name="m x"} 7.5',
    'vllm:num_requests_running{model_name="m"} 3',
    'vllm:e2e_request_latency_seconds_sum{model_name="m"} 1.25',
    'vllm:e2e_request_latency_seconds_count{model_name="m"} 4',
    'vllm:e2e_request_latency_seconds_bucket{le="0.5",model_name="m"} 2',
    'vllm:e2e_request_latency_seconds_bucket{le="+Inf",model_name="m"} 4',
    "process_start_time_seconds 100",
    "go_goroutines 17",
    'go_gc_duration_seconds{quantile="1"} NaN',
    "# EOF",
    "",
)  # fmt: skip
NUMBERS = (
    "0",
    "6",
    "8.25",
    "1e3",
    "+4",
    ".5",
    "5.",
    "-1",
    "NaN",
    "+Inf",
    "1e999",
    "1_0",
    "",
    "x",
    "0x1",
    "5 17",
    "3\t",
)


def read(memory, page):
    """What the page says, or why it does not."""
    try:
        return said(memory(page.encode()))
    except (PageRefused, EngineUnknown) as error:
        return type(error), str(error)


def said(page):
    slots = tuple(dict(each) for each in (page.work_slots, page.phase_slots, page.latency_slots))
    return page.engine, slots, page.gauges, page.start_time_seconds, page.cached_within_input


def remembering(**reading):
    return PageMemory(PageReading(**reading), TenantCap(0))


def is_remembered(memory, page):
    """Whether the page's values are taken from where those of the last one stood."""
    plans = memory.read(page).counters.plans
    return memory.read(page).counters.plans is plans


def replaced(line, number):
    return f"{line.rpartition(' ')[0]} {number}" if line and line[0] != "#" else line


@st.composite
def pages(draw):
    """A few pages that differ by values most of the time, by lines at times."""
    lines, made = list(LINES), []
    for _ in range(draw(st.integers(2, 8))):
        if draw(st.integers(0, 5)) == 0:
            lines = [line for line in LINES if draw(st.integers(0, 9))]
        at = draw(st.integers(0, max(0, len(lines) - 1)))
        lines[at : at + 1] = [replaced(line, draw(st.sampled_from(NUMBERS))) for line in lines[at : at + 1]]
        made.append("\n".join(lines))
    return made


@given(pages())
def test_a_remembered_page_says_what_it_says_when_read_in_full(several):
    memory = remembering()
    for page in several:
        assert read(memory.read, page) == read(read_engine_page, page)


@given(pages(), st.data())
def test_gains_over_remembered_pages_are_those_over_pages_read_in_full(several, data):
    memory, deltas, plain = remembering(), CounterDeltas(), CounterDeltas()
    for page in several:
        try:
            slow = read_engine_page(page.encode())
        except (PageRefused, EngineUnknown):
            continue
        assert deltas.book(memory.read(page.encode())) == plain.book(slow)
        assert deltas.export() == plain.export()
        if data.draw(st.integers(0, 3)) == 0:
            deltas = CounterDeltas.restore(*deltas.save())


@pytest.mark.parametrize("kind", sorted(BY_NAME))
def test_the_third_page_of_an_engine_is_remembered_and_right(kind):
    memory = remembering()
    with ScriptedEngine(kind, model="m", clock=lambda: 0.0) as engine:
        for _ in range(3):
            engine.serve(2, Load(input_tokens=9, output_tokens=4))
            page = engine.page().encode()
            assert said(memory.read(page)) == said(read_engine_page(page))
        assert is_remembered(memory, page)


def test_real_pages_are_remembered(shared_data):
    remembered = []
    for path in sorted((shared_data / "llm_metrics_pages").glob("*.txt")):
        page = path.read_bytes()
        try:
            expected = said(read_engine_page(page))
        except (PageRefused, EngineUnknown):
            continue
        memory = remembering()
        assert [said(memory.read(page)) for _ in range(3)] == [expected] * 3
        remembered.append(is_remembered(memory, page))
    assert remembered
    assert any(remembered)


@pytest.mark.parametrize(
    "line",
    [
        'vllm:prompt_tokens_total{model_name="m"} 5 1700000000000',
        'vllm:prompt_tokens_total{model_name="m"} 5 # {trace_id="a"} 0.5',
        'vllm:prompt_tokens_total{model_name="#"} 5',
        '{"vllm:prompt_tokens_total",model_name="m"} 5',
        'vllm:prompt_tokens_total{model_name="m"}\t5',
        'vllm:prompt_tokens_total{model_name="m"} 5 ',
    ],
)
def test_a_line_whose_value_is_not_surely_its_last_word_is_read_in_full_each_time(line):
    memory = remembering(engines=(BY_NAME["vllm"],))
    for value in ("5", "6", "7"):
        page = (line.replace("5", value, 1) + "\n").encode()
        assert said(memory.read(page)) == said(read_engine_page(page, PageReading(engines=(BY_NAME["vllm"],))))
    assert not is_remembered(memory, page)


def test_a_mapped_name_among_lines_that_had_none_is_not_missed():
    memory = remembering()
    page = 'vllm:prompt_tokens_total{model_name="m"} 5\nother_total 5\n'
    for _ in range(3):
        memory.read(page.encode())
    grown = memory.read(page.replace("other_total", "vllm:generation_tokens_total").encode())
    assert {kind for _, _, kind in grown.work} == {"input_tokens", "output_tokens"}


@pytest.mark.parametrize("name", ["other_total{", ' "other_total"} ', '{ "other_total"'])
def test_a_line_that_is_named_by_its_last_word_is_never_skipped(name):
    memory = remembering()
    page = 'vllm:prompt_tokens_total{model_name="m"} 5\n' + name + "5\n"
    for _ in range(3):
        memory.read(page.encode())
    grown = page.replace("other_total", "vllm:generation_tokens_total")
    assert read(memory.read, grown) == read(read_engine_page, grown)


def test_a_line_break_that_moves_makes_another_page():
    memory = remembering(engines=(mapped_names({"a": "steps"}),))
    for _ in range(3):
        memory.read(b"x\na 1\nb 2\n")
    assert memory.read(b"x 3\na 1\nb 2\n").work == {("", "", "steps"): 1}
    assert memory.read(b"a 4\nx\nb 2\n").work == {("", "", "steps"): 4}


def test_a_counter_that_cannot_be_refuses_a_remembered_page():
    memory = remembering()
    page = 'vllm:prompt_tokens_total{model_name="m"} %s\n'
    for _ in range(3):
        memory.read((page % 5).encode())
    with pytest.raises(PageRefused, match=r"counter vllm:prompt_tokens_total is -1; a counter has to be finite"):
        memory.read((page % -1).encode())
    assert memory.read((page % 6).encode()).work == {("m", "", "input_tokens"): 6}


def test_an_absent_gauge_is_absent_on_a_remembered_page():
    memory = remembering()
    page = 'vllm:prompt_tokens_total{model_name="m"} 5\nvllm:num_requests_running{model_name="m"} %s\n'
    for running in ("3", "4", "5"):
        memory.read((page % running).encode())
    assert memory.read((page % "NaN").encode()).gauges == {}
    assert memory.read((page % 2).encode()).gauges == {("m", "running"): 2}


def test_a_page_that_ends_within_a_line_is_cut_off_whatever_was_remembered():
    memory = remembering()
    page = b'vllm:prompt_tokens_total{model_name="m"} 12\n'
    for _ in range(3):
        memory.read(page)
    with pytest.raises(PageRefused, match="page is cut off"):
        memory.read(page[:-2], whole=False)


def test_tenants_keep_their_names_on_remembered_pages():
    tenants, reading = TenantCap(1), PageReading(tenant_label="user")
    memory = PageMemory(reading, tenants)
    page = 'vllm:prompt_tokens_total{user="a"} %d\nvllm:prompt_tokens_total{user="b"} %d\n'
    for amount in range(4):
        found = memory.read((page % (amount, amount)).encode()).work
        assert found == {("", "a", "input_tokens"): amount, ("", "__other__", "input_tokens"): amount}


def test_an_engine_that_was_named_and_tells_nothing_yet_is_no_form():
    memory = remembering(engines=(ENGINES[0],))
    for _ in range(3):
        assert memory.read(b"").work == {}
    assert math.isclose(memory.read(b"vllm:prompt_tokens_total 5\n").work["", "", "input_tokens"], 5)
