from agent.books import FINISHED, OTHER, Books, Meter
from ledger.hours import CellKey


def cell(method, holder="job-7"):
    return CellKey("GPU-1", "", "slurm", holder, "active", method)


def books(**touched_ns):
    made = Books("boot", [(0, 0)])
    made.meters = {cell(method): Meter(10, 20, 30, touched_ns=ns) for method, ns in touched_ns.items()}
    return made


def test_a_holder_is_finished_when_nothing_of_it_was_touched_lately():
    assert books(sm=5, memory=9).finished(set(), before_ns=10) == [cell("sm"), cell("memory")]


def test_no_meter_of_a_holder_goes_before_all_do_lest_its_joules_and_dollars_fall():
    assert books(memory=5, sm=10).finished(set(), before_ns=10) == []


def test_a_holder_that_is_present_is_not_finished():
    assert books(sm=5).finished({("slurm", "job-7")}, before_ns=10) == []


def test_what_nobody_holds_and_what_is_finished_already_stays():
    made = books()
    made.meters = {cell("exclusive", ""): Meter(touched_ns=1), cell("exclusive", FINISHED): Meter(touched_ns=1)}
    assert made.finished(set(), before_ns=10) == []


def amounts(made):
    return {(key.holder, key.method): (meter.gpu_ns, meter.energy_mj) for key, meter in made.meters.items()}


def test_the_amounts_of_the_finished_stay_in_the_books():
    made = books(sm=5, memory=9)
    made.retire(made.finished(set(), before_ns=10))
    assert amounts(made) == {(FINISHED, "sm"): (10, 20), (FINISHED, "memory"): (10, 20)}


def test_what_was_shown_among_others_stays_among_them_lest_their_series_fall():
    made = books(sm=5)
    made.meters[cell("sm")].folded = True
    made.retire(made.finished(set(), before_ns=10))
    assert amounts(made) == {(OTHER, "sm"): (10, 20)}
    assert made.finished(set(), before_ns=10) == []
