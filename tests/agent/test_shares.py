from agent.shares import MethodChooser, ShareWindow
from collectors.clock import NS_PER_SECOND
from collectors.holder import Holder
from collectors.readings import ShareSample
from ledger.accounts import Method

A, B = Holder("container", "a"), Holder("container", "b")
ALL = {Method.SM, Method.MEMORY, Method.EQUAL}


def test_new_samples_weigh_by_holder():
    window = ShareWindow()

    weights = window.add(0, [ShareSample(1, 0, 0.5), ShareSample(2, 0, 0.1), ShareSample(1, 1, 0.3)], {1: A, 2: B})

    assert weights == {A: 800, B: 100}


def test_a_sample_of_an_ended_process_belongs_to_the_holder_it_had():
    window = ShareWindow()
    window.add(0, [], {1: A})

    assert window.add(1, [ShareSample(1, 0, 0.5)], {2: B}) == {A: 500}


def test_a_sample_that_comes_sweeps_after_its_process_ended_is_not_lost_to_the_holder():
    window = ShareWindow()
    window.add(0, [], {1: A})
    window.add(1, [], {2: B})

    assert window.add(60 * NS_PER_SECOND, [ShareSample(1, 0, 0.5)], {2: B}) == {A: 500}
    assert window.add(60 * NS_PER_SECOND + 1, [ShareSample(1, 0, 0.5)], {2: B}) == {None: 500}


def test_a_sample_belongs_to_its_holder_however_long_ago_the_sweep_before_was():
    window = ShareWindow()
    window.add(0, [], {1: A})

    assert window.add(1000 * NS_PER_SECOND, [ShareSample(1, 0, 0.5)], {}) == {A: 500}


def test_a_sample_of_a_process_never_seen_belongs_to_nobody():
    assert ShareWindow().add(0, [ShareSample(9, 0, 0.2)], {}) == {None: 200}


def test_the_window_stands_in_and_forgets_after_a_minute():
    window = ShareWindow()
    window.add(0, [ShareSample(1, 0, 0.5)], {1: A})

    assert window.add(60 * NS_PER_SECOND, [], {1: A}) == {}
    assert window.trailing() == {A: 500}
    window.add(60 * NS_PER_SECOND + 1, [], {1: A})
    assert not window.available()


def test_the_first_method_is_taken_at_once():
    assert MethodChooser(60).choose(Method.SM, 0, ALL) is Method.SM


def test_another_method_has_to_hold_before_it_is_taken():
    chooser = MethodChooser(60)
    chooser.choose(Method.MEMORY, 0, ALL)

    assert chooser.choose(Method.SM, 100, ALL) is Method.MEMORY
    assert chooser.choose(Method.SM, 159, ALL) is Method.MEMORY
    assert chooser.choose(Method.SM, 160, ALL) is Method.SM


def test_at_first_a_better_method_is_taken_at_once_and_a_worse_one_is_not():
    chooser = MethodChooser(60)
    chooser.choose(Method.MEMORY, 0, ALL)

    assert chooser.choose(Method.EQUAL, 5, ALL) is Method.MEMORY
    assert chooser.choose(Method.SM, 6, ALL) is Method.SM
    assert chooser.choose(Method.MEMORY, 7, ALL) is Method.SM


def test_a_method_that_comes_and_goes_is_not_taken():
    chooser = MethodChooser(60)
    chooser.choose(Method.MEMORY, 0, ALL)
    chooser.choose(Method.SM, 100, ALL)
    chooser.choose(Method.MEMORY, 140, ALL)

    assert chooser.choose(Method.SM, 180, ALL) is Method.MEMORY


def test_a_method_that_cannot_be_used_any_more_is_left_at_once():
    chooser = MethodChooser(60)
    chooser.choose(Method.SM, 0, ALL)

    assert chooser.choose(Method.EQUAL, 1, {Method.EQUAL}) is Method.EQUAL
