"""A follower is not deceived by watches that open and never speak."""

import threading

import pytest

from collectors.clock import NS_PER_SECOND
from collectors.errors import Unavailable
from collectors.kube_api import Listing, Resource
from collectors.kube_follow import Follower, Habits
from tests.controller.scaling.scaling_rig import HandClock

MUTE = 1800.0


class Sink:
    """Remembers what the last list had."""

    def __init__(self):
        self.items = ()
        self.replace = lambda items: setattr(self, "items", items)
        self.put = self.remove = lambda _item: None


class Silent:
    """Its watches open and break off after a while; each list has one more object than the last."""

    def __init__(self, clock, stop, seconds):
        self.asked = []
        self._clock, self._stop, self._seconds = clock, stop, seconds

    def list(self, *_):
        self.asked.append("list")
        return Listing(tuple(range(self.asked.count("list"))), "5")

    def watch(self, *_, **_more):
        self.asked.append("watch")
        if self.asked.count("watch") == 4:
            self._stop.set()
        return self

    def __iter__(self):
        self._clock.now_ns += int(self._seconds * NS_PER_SECOND)
        raise Unavailable("it broke off")
        yield

    def close(self):
        pass


@pytest.mark.parametrize(
    ("seconds", "mute", "lists"), [(MUTE - 1, MUTE, 4), (MUTE / 2, MUTE, 1), (MUTE, None, 1)], ids=str
)
def test_what_was_silent_for_so_long_is_listed_again(seconds, mute, lists):
    clock, stop, sink = HandClock(), threading.Event(), Sink()
    api = Silent(clock, stop, seconds)
    habits = Habits(mute_seconds=mute)
    Follower(api, Resource("/api/v1/pods"), lambda item: item, sink=sink, clock=clock, habits=habits).run(stop)
    assert api.asked.count("list") == lists
    assert len(sink.items) == lists
    assert api.asked[:2] == ["list", "watch"]
