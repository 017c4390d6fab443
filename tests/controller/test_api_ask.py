"""Questions wait for their places, and for their time."""

import threading
import time

import pytest

from controller.api_ask import Busy, Worker


def test_a_question_that_takes_too_long_is_given_up():
    worker, go_on = Worker(1, 0.05), threading.Event()
    with pytest.raises(Busy, match=r"no answer within 0.05 s"):
        worker.ask(lambda: go_on.wait(10))
    go_on.set()
    worker.close()


def test_questions_beyond_the_places_are_turned_away():
    worker, go_on = Worker(1, 10), threading.Event()
    askers = [threading.Thread(target=worker.ask, args=(lambda: go_on.wait(10),)) for _ in range(5)]
    for asker in askers:
        asker.start()
    while worker._places._value:
        time.sleep(0.01)
    with pytest.raises(Busy, match="too many questions at once"):
        worker.ask(lambda: 1)
    go_on.set()
    for asker in askers:
        asker.join()
    assert worker.ask(lambda: 1) == 1
    worker.close()
