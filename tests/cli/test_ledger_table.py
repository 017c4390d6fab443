"""An allocation as the terminal shows it."""

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from cli.ledger_table import told
from controller.api_window import Window
from tests.ledger.test_allocate import allocated, row, used

USD = 10**9
HOUR = 3600 * 10**9
WINDOW = Window(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC))


def shown(frame, basis="best"):
    """Cells by name and column, and the lines below the table."""
    out = io.StringIO()
    console = Console(file=out, width=200)
    for each in told(frame, ["team"], WINDOW, 10, ["measured"], basis=basis):
        console.print(each)
    lines = out.getvalue().splitlines()
    cells = [[cell.strip() for cell in line.split(line[0])[1:-1]] for line in lines if line[:1] in "│┃" and line]
    table = {cells[row][0]: dict(zip(cells[0], cells[row], strict=True)) for row in range(1, len(cells))}
    return table, [line for line in lines if line[:1] in ("*", "+")]


def test_cost_that_nobody_knows_is_a_dash():
    table, below = shown(allocated([row("red")], used(row("red", gpu_ns=3 * HOUR))))
    assert (table["red"]["cost"], table["red"]["of it idle"], table["all"]["cost"]) == ("-", "-", "-")
    assert below == ["+ the cost of 3.00 GPU-hours is not known; it is in no sum"]


def test_active_is_of_measured_time_and_a_dash_where_nothing_was_measured():
    times = used(
        row("red", "unmeasured", gpu_ns=HOUR),
        row("blue", gpu_ns=3 * HOUR),
        row("blue", "idle", gpu_ns=HOUR),
        row("blue", "unmeasured", gpu_ns=6 * HOUR),
        row(account="unallocated", gpu_ns=2 * HOUR),
        row(account="unobserved", gpu_ns=9 * HOUR),
    )
    table, _ = shown(allocated([row("red", cost=1)], times))
    # of all: 3 of 3 + 1 + 2 hours
    assert [table[name]["active"] for name in ("red", "blue", "all")] == ["-", "75 %", "50 %"]


@pytest.mark.parametrize(("basis", "why"), [("best", "where no bill has come"), ("list", "as asked for")])
def test_why_a_part_is_list_price_is_told(basis, why):
    _, below = shown(allocated([row("red", cost=4 * USD)], used(row("red", gpu_ns=HOUR))), basis)
    assert below == [f"* list price, {why}: $4.00 of this"]


def test_a_sum_that_lacks_a_part_is_marked():
    costs = [row("red", cost=5 * USD, price_id="p"), row("red", "idle"), row("blue", cost=4 * USD)]
    times = used(row("red", gpu_ns=HOUR), row("red", "idle", gpu_ns=2 * HOUR), row("blue", gpu_ns=HOUR))
    table, below = shown(allocated(costs, times))
    assert [table[name]["cost"] for name in ("red", "blue", "all")] == ["$5.00*+", "$4.00*", "$9.00*+"]
    assert table["red"]["of it idle"] == "$0.00+"
    assert below[1] == "+ the cost of 2.00 GPU-hours is not known; it is in no sum"
