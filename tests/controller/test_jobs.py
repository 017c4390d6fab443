"""Jobs run one at a time, again and again, whatever one of them does."""

import logging
import threading
from datetime import UTC, datetime, timedelta

import pytest

from controller.jobs import Job, Jobs, _Every

NOW = datetime(2026, 11, 1, 6, tzinfo=UTC)


class Fatal(Exception):  # noqa: N818
    pass


def jobs_of(*runs, **more):
    named = [Job(f"job {number}", run, lambda: 3600) for number, run in enumerate(runs)]
    return Jobs(named, now=lambda: NOW, **more)


def fails(message="the disk is full"):
    def run():
        raise OSError(message)

    return run


def test_each_runs_at_once_and_in_order():
    ran, done = [], threading.Event()
    jobs = jobs_of(lambda: ran.append("a"), lambda: ran.append("b"), done.set)
    jobs.start()
    assert done.wait(10)
    jobs.end()
    assert ran == ["a", "b"]


def test_one_that_fails_leaves_the_others_alone_and_is_told_once(caplog):
    jobs = jobs_of(fails(), lambda: None)
    for _ in range(3):
        jobs.run_once("job 0"), jobs.run_once("job 1")
    assert caplog.messages == ["job job 0 failed and is tried again: the disk is full"]
    assert (jobs.health["job 0"].failures, jobs.health["job 1"].failures) == (3, 0)
    assert jobs.health["job 0"].succeeded_at is None
    assert jobs.health["job 1"].succeeded_at == NOW


def test_another_reason_is_told_and_its_end_too(caplog):
    caplog.set_level(logging.INFO)
    why = ["one", "two", ""]

    def run():
        if said := why.pop(0):
            raise ValueError(said)

    jobs = jobs_of(run)
    for _ in range(3):
        jobs.run_once("job 0")
    assert [line.rpartition(" ")[2] for line in caplog.messages] == ["one", "two", "again"]
    assert (jobs.health["job 0"].runs, jobs.health["job 0"].error) == (3, "")


def test_a_fatal_error_ends_the_process_and_is_no_failure():
    told = []
    jobs = jobs_of(fails("unused"), fatal=(OSError,), on_fatal=told.append)
    jobs.run_once("job 0")
    assert [str(error) for error in told] == ["unused"]
    assert jobs.health["job 0"].runs == 0


def test_after_a_success_others_are_told_and_after_a_failure_not():
    told = []
    jobs = jobs_of(lambda: None, fails(), after=told.append)
    jobs.run_once("job 0"), jobs.run_once("job 1")
    assert told == ["job 0"]


def test_a_hurried_job_runs_before_it_is_due():
    runs, twice = [], threading.Event()

    def run():
        runs.append(1)
        if len(runs) == 2:
            twice.set()

    jobs = Jobs([Job("look", run, lambda: 3600)])
    jobs.hurry("look")  # nothing runs yet: no harm
    jobs.start()
    for _ in range(200):
        if runs:
            break
        twice.wait(0.05)
    jobs.hurry("look")
    assert twice.wait(10)
    jobs.end()


def test_the_end_waits_for_the_job_at_work():
    began, go_on, ended = threading.Event(), threading.Event(), []

    def run():
        began.set()
        go_on.wait(10)
        ended.append(1)

    jobs = Jobs([Job("slow", run, lambda: 3600)])
    jobs.start()
    assert began.wait(10)
    closer = threading.Thread(target=jobs.end)
    closer.start()
    assert not ended
    go_on.set()
    closer.join(10)
    assert ended == [1]


@pytest.mark.parametrize(("late", "due"), [(0, 5), (3, 5), (100, 100)])
def test_what_was_missed_is_not_made_up_for(late, due):
    pace = iter([5, 7])
    every = _Every(lambda: next(pace))
    assert every.get_next_fire_time(None, NOW) == NOW
    assert every.get_next_fire_time(NOW, NOW + timedelta(seconds=late)) == NOW + timedelta(seconds=due)
