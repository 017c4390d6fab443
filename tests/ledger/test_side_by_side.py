from threading import Barrier

import pytest

from ledger.side_by_side import side_by_side


def test_results_come_in_the_order_of_the_things_whichever_is_done_first():
    met = Barrier(3)

    def work(number):
        if number < 3:
            met.wait(10)  # none ends before all three are at work
        return number * number

    assert list(side_by_side(work, iter(range(50)), 3)) == [number * number for number in range(50)]


def test_the_first_error_in_the_order_of_the_things_is_raised_after_what_came_before_it():
    both_fail = Barrier(2)

    def work(number):
        if number in {4, 5}:
            both_fail.wait(10)
            raise ValueError(number)
        return number

    results = side_by_side(work, iter(range(9)), 2)
    assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="4"):
        next(results)


def test_an_error_of_the_things_themselves_waits_for_its_turn():
    def things():
        yield from (1, 2, 3)
        raise OSError("no fourth")

    def work(number):
        if number == 3:
            raise ValueError(number)
        return number

    with pytest.raises(ValueError, match="3"):
        list(side_by_side(work, things(), 2))
    with pytest.raises(OSError, match="no fourth"):
        list(side_by_side(str, things(), 2))


def test_no_more_is_taken_than_what_is_used_needs():
    taken = []

    def things():
        for number in range(100):
            taken.append(number)
            yield number

    results = side_by_side(str, things(), 2)
    assert next(results) == "0"
    assert len(taken) <= 3
    results.close()
