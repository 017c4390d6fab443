"""Whether GPUs worked, from agents' hours: over hour boundaries, restarts, gaps and clocks; never idle by guess."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.scaling.activity import ActivityBook
from controller.scaling.gpu_time import FINE_HOURS, KEPT_HOURS, SPACING_NS, NodeTimes
from tests.controller.scaling.guard_rig import at, hour, minutes, pod, worked, workload

CHAT = workload(pod())


def heard(*pulls, node="n1"):
    """A book that heard (moment, documents) of a node."""
    book = ActivityBook()
    for moment, *documents in pulls:
        book.take(node, documents, moment)
    return book


def test_two_pulls_tell_what_lies_between_them():
    book = heard(
        (at(10, 10), hour(10, *worked(8, 2), booked=10)),
        (at(10, 40), hour(10, *worked(11, 29), booked=40)),
    )
    found = book.of(CHAT, at(10, 41), 30)
    assert found.active_ratio == pytest.approx(0.1)
    assert (found.covered_seconds, found.age_seconds, found.unknown_ratio) == (1800, 60, 0)


def test_hours_are_joined_at_their_boundary():
    book = heard(
        (at(9, 50), hour(9, *worked(0, 50), booked=50)),
        (at(10, 20), hour(9, *worked(3, 57)), hour(10, *worked(0, 20), booked=20)),
    )
    found = book.of(CHAT, at(10, 20), 30)
    assert found.active_ratio == pytest.approx(0.1)
    assert found.covered_seconds == 1800


def test_an_hour_that_is_full_and_not_closed_yet_is_joined_too():
    book = heard(
        (at(9, 50), hour(9, *worked(0, 50), booked=50)),
        (at(10, 20), hour(9, *worked(3, 57), booked=60), hour(10, *worked(0, 20), booked=20)),
    )
    assert book.of(CHAT, at(10, 20), 30).active_ratio == pytest.approx(0.1)


def test_after_a_restart_the_open_hour_proves_idleness_or_counts_all_it_has():
    idle = heard((at(10, 50), hour(10, *worked(0.3, 49.7), booked=50)))
    found = idle.of(CHAT, at(10, 50), 30)
    assert found.active_ratio == pytest.approx(0.01)
    assert found.covered_seconds == 3000
    busy = heard((at(10, 50), hour(10, *worked(15, 35), booked=50)))
    assert busy.of(CHAT, at(10, 50), 30).active_ratio == pytest.approx(0.5)


def test_soon_after_a_restart_the_last_closed_hour_covers_what_the_open_one_does_not():
    book = heard((at(10, 5), hour(9, *worked(0, 60)), hour(10, *worked(0, 5), booked=5)))
    assert book.of(CHAT, at(10, 5), 30).covered_seconds == 65 * 60
    alone = heard((at(10, 5), hour(10, *worked(0, 5), booked=5)))
    assert alone.of(CHAT, at(10, 5), 30).covered_seconds == 300


def test_an_hour_that_never_came_whole_is_not_bridged():
    book = heard(
        (at(9, 50), hour(9, *worked(0, 50), booked=50)),
        (at(10, 20), hour(10, *worked(0, 20), booked=20)),
    )
    assert book.of(CHAT, at(10, 20), 30).covered_seconds == 20 * 60


def test_the_gpu_that_works_counts_for_those_that_do_not():
    eight = workload(pod(gpus=8))
    rows = [each for count in range(7) for each in worked(0, 40, uuid=f"GPU-{count}")]
    book = heard((at(10, 40), hour(10, *rows, *worked(40, 0, uuid="GPU-7"), booked=40)))
    assert book.of(eight, at(10, 40), 30).active_ratio == 1


def test_the_pod_that_works_counts_for_those_that_do_not():
    book = heard((at(10, 40), hour(10, *worked(0, 40), booked=40)))
    busy = worked(20, 20, uuid="GPU-2", holder="ml/chat-1/server")
    book.take("n2", [hour(10, *busy, booked=40, node="n2")], at(10, 40))
    both = workload(pod(), pod("chat-1", "n2"))
    assert book.of(both, at(10, 40), 40).active_ratio == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("pods", "why"),
    [
        ([pod(node="elsewhere")], "a node never heard"),
        ([pod("chat-9")], "a pod never seen on it"),
        ([pod(), pod("chat-1", "n2")], "one of two"),
        ([pod(gpus=2)], "one of its two GPUs"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_pod_without_figures_makes_it_unknown(pods, why):
    book = heard((at(10, 40), hour(10, *worked(0, 40), booked=40)))
    assert book.of(workload(*pods), at(10, 40), 30) is None, why
    assert book.gap(workload(*pods), at(10, 40), 30).startswith(f"pod ml/{pods[-1].name} on node {pods[-1].node}")


def test_replicas_of_one_gpu_are_no_missing_gpus():
    rows = [minutes(4, method="sm"), minutes(36, "idle", method="sm")]
    book = heard((at(10, 40), hour(10, *rows, booked=40)))
    assert book.of(workload(pod(gpus=2)), at(10, 40), 40).active_ratio == pytest.approx(0.1)


def test_a_mig_instance_counts_by_its_own_time():
    rows = [minutes(1, mig="MIG-1", method="mig_activity"), minutes(4, "idle", mig="MIG-1", method="mig_activity")]
    book = heard((at(10, 40), hour(10, *rows, booked=40, accounted={"GPU-1": 40})))
    found = book.of(CHAT, at(10, 40), 40)
    assert (found.active_ratio, found.unknown_ratio) == (pytest.approx(0.2), 0)


@pytest.mark.parametrize("account", ["unobserved", "unattributed", "unmeasured"])
def test_what_was_not_seen_is_unknown_and_not_idle(account):
    holder = "ml/chat-0/server" if account == "unmeasured" else ""
    rows = [*worked(0, 30), minutes(10, account, holder=holder)]
    found = heard((at(10, 40), hour(10, *rows, booked=40))).of(CHAT, at(10, 40), 40)
    assert found.active_ratio == 0
    assert found.unknown_ratio == pytest.approx(0.25)


def test_a_device_that_stopped_answering_is_unknown_while_its_node_goes_on():
    book = heard((at(10, 40), hour(10, *worked(0, 30), booked=40)))
    assert book.of(CHAT, at(10, 40), 40).unknown_ratio == pytest.approx(0.25, abs=0.01)


def test_a_pod_that_is_new_is_covered_since_it_was_made():
    book = heard((at(10, 40), hour(10, *worked(0, 40), booked=40)))
    young = workload(pod(created=at(10, 30)))
    assert book.of(young, at(10, 40), 30).covered_seconds == 600


def test_the_stalest_node_tells_the_age():
    book = heard((at(10, 40), hour(10, *worked(0, 40), booked=40)))
    book.take("n2", [hour(10, *worked(0, 30, holder="ml/chat-1/server"), booked=30, node="n2")], at(10, 30))
    assert book.of(workload(pod(), pod("chat-1", "n2")), at(10, 41), 20).age_seconds == 11 * 60


def test_a_clock_that_is_ahead_makes_no_figure_younger_than_its_arrival():
    book = heard((at(10, 40), hour(10, *worked(0, 50), booked=50)))
    assert book.of(CHAT, at(10, 44), 30).age_seconds == 240


def test_pods_that_hold_nothing_do_not_work():
    pending, over = pod(node="", phase="Pending"), pod(phase="Succeeded")
    found = ActivityBook().of(workload(pending, over), at(10), 30)
    assert (found.active_ratio, found.covered_seconds, found.age_seconds) == (0, 1800, 0)


def test_pods_that_are_ready_and_not_seen_are_unknown():
    assert ActivityBook().of(workload(), at(10), 30) is None
    assert ActivityBook().of(workload(gpus_per_pod=0), at(10), 30) is not None


@pytest.mark.parametrize("change", ["fell", "stepped"])
def test_books_begun_anew_and_clock_steps_cut_off_what_was_before(change):
    book = heard((at(10, 10), hour(9, *worked(0, 60)), hour(10, *worked(5, 5), booked=10)))
    now = worked(0, 20) if change == "fell" else worked(5, 15)
    book.take("n1", [hour(10, *now, booked=20, steps=int(change == "stepped"))], at(10, 20))
    assert book.of(CHAT, at(10, 20), 30) is None
    book.take("n1", [hour(10, *worked(6, 34), booked=40, steps=int(change == "stepped"))], at(10, 40))
    found = book.of(CHAT, at(10, 40), 30)
    assert found.covered_seconds == 1200


def test_an_answer_that_comes_late_changes_nothing():
    book = heard((at(10, 40), hour(10, *worked(4, 36), booked=40)))
    before = book.of(CHAT, at(10, 40), 40)
    book.take("n1", [hour(10, *worked(4, 16), booked=20)], at(10, 40))
    assert book.of(CHAT, at(10, 40), 40) == before


def test_an_hour_closed_again_replaces_the_former():
    book = heard((at(10, 30), hour(9, *worked(0, 60)), hour(10, *worked(0, 30), booked=30)))
    book.take("n1", [hour(9, *worked(0, 60), minutes(30, "unobserved", holder=""))], at(10, 31))
    assert book.of(CHAT, at(10, 31), 60).unknown_ratio == pytest.approx(0.5)


def test_what_is_kept_is_bounded_however_often_an_agent_is_asked():
    times = NodeTimes()
    for minute in range(0, 40 * 60, 1):
        number, booked = divmod(minute, 60)
        pods = [minutes(booked, holder=f"ml/job-{number}-{count}/c", uuid=f"GPU-{count}") for count in range(8)]
        times.take(
            hour(number % 24, *pods, booked=booked)
            | {"hour_utc": f"2026-11-{1 + number // 24:02}T{number % 24:02}:00:00Z"}
        )
    hours = [each for _, each in sorted(times._hours.items())]
    assert len(hours) == KEPT_HOURS
    assert [len(each.points) for each in hours[:-FINE_HOURS]] == [1] * (KEPT_HOURS - FINE_HOURS)
    assert max(len(each.points) for each in hours) <= 3600 * 10**9 // SPACING_NS + 2
    assert max(len(each.index) for each in hours) < 150


def test_a_whole_day_is_told_by_its_hours():
    book = ActivityBook()
    for number in range(23):
        book.take("n1", [hour(number, *worked(0, 60))], at(number) + timedelta(hours=1))
    book.take("n1", [hour(23, *worked(12, 48))], at(23) + timedelta(hours=1))
    found = book.of(CHAT, at(23) + timedelta(hours=1), 1440)
    assert (found.active_ratio, found.covered_seconds) == (pytest.approx(12 / 1440), 86_400)


def test_no_more_is_kept_than_will_be_asked_about():
    book = ActivityBook(most_minutes=90)
    for number in range(12):
        book.take("n1", [hour(number, *worked(0, 60))], at(number) + timedelta(hours=1))
    assert len(book._nodes["n1"].times._hours) == 3
    assert book.of(CHAT, at(12), 90).covered_seconds >= 5400


def test_a_book_that_is_to_reach_further_keeps_more_from_then_on_and_less_when_it_need_not():
    book = ActivityBook(most_minutes=90)
    book.take("n1", [hour(0, *worked(0, 60))], at(1))
    book.reach(300)
    book.take("n1", [hour(number, *worked(0, 60)) for number in range(12)], at(12))
    assert book.of(CHAT, at(12), 300).covered_seconds >= 18_000
    book.reach(30)
    book.take("n1", [hour(12, *worked(0, 60))], at(13))
    assert len(book._nodes["n1"].times._hours) == 2


def test_nodes_to_ask_are_those_whose_figures_are_old_short_or_missing():
    book = heard((at(10, 40), hour(10, *worked(0, 40), booked=40)))
    fresh = workload(pod())
    assert book.nodes_to_ask([fresh], at(10, 40), 30) == set()
    assert book.nodes_to_ask([fresh], at(10, 42), 30) == {"n1"}
    assert book.nodes_to_ask([fresh], at(10, 40), 60) == {"n1"}
    assert book.nodes_to_ask([workload(pod(node="n2"))], at(10, 40), 30) == {"n2"}


def test_work_of_the_last_day_is_remembered():
    book = heard((at(10, 40), hour(10, *worked(1, 39), booked=40, work=["ml/chat-0/server"])))
    assert book.worked(pod(), at(10, 40))
    assert not book.worked(pod("chat-1"), at(10, 40))
    assert not book.worked(pod(), at(10, 40) + timedelta(hours=25))


def test_a_node_that_is_silent_for_long_is_forgotten():
    book = heard((at(1), hour(0, *worked(0, 60))))
    assert book.heard(at(1, 9))
    assert not book.heard(at(1, 11))
    book.take("n2", [hour(12, *worked(0, 1), booked=1, node="n2")], at(1) + timedelta(hours=27))
    assert book.of(CHAT, at(12, 1), 30) is None


def test_an_hour_of_an_unknown_shape_tells_nothing_and_says_so_once(caplog):
    odd = hour(10, *worked(0, 40), booked=40)
    del odd["usage_columns"]
    book = heard((at(10, 40), odd), (at(10, 41), odd))
    assert book.of(CHAT, at(10, 41), 30) is None
    assert len(caplog.messages) == 1
    assert "run agent and controller of one version" in caplog.messages[0]


@given(
    active=st.lists(st.booleans(), min_size=180, max_size=180),
    pulled=st.lists(st.integers(1, 179), min_size=1, max_size=25, unique=True),
    asked=st.integers(1, 120),
)
def test_the_ratio_is_never_below_what_the_minutes_truly_were(active, pulled, asked):
    """Minute by minute of three hours, pulled at any times: what is told is at least the truth, or covers less."""
    book = ActivityBook()
    for end in [*sorted(pulled), 180]:
        documents = []
        for number in range(-(-end // 60)):
            until = min(60, end - number * 60)
            done = sum(active[number * 60 : number * 60 + until])
            documents.append(hour(number, *worked(done, until - done), booked=None if until == 60 else until))
        book.take("n1", documents[-2:], at(0) + timedelta(minutes=end))
    found = book.of(CHAT, at(3), asked)
    truth = sum(active[180 - asked :]) / asked
    assert found.covered_seconds < asked * 60 or found.active_ratio >= truth - 1e-9
    assert found.unknown_ratio == 0
