import pytest

from agent.books import Books
from agent.entry import Base, Entry

BEFORE, AFTER = Base(1, 1, 10), Base(9, 9, 90)


@pytest.fixture
def books():
    """The books after a reboot: a device of the former boot is awaited."""
    return Books("boot", [(0, 0)], bases={"GPU-0": BEFORE}, former=["GPU-0"])


def test_a_device_that_was_let_go_and_came_back_while_the_disk_was_full_keeps_its_base(books):
    waiting = Entry(5, gone=["GPU-0"])
    waiting.merge(Entry(9, bases={"GPU-0": AFTER}))

    books.apply(waiting)

    assert (books.bases, books.former) == ({"GPU-0": AFTER}, [])


def test_a_device_that_was_let_go_after_all_while_the_disk_was_full_has_no_base(books):
    waiting = Entry(5, bases={"GPU-0": AFTER, "GPU-1": AFTER})
    waiting.merge(Entry(9, gone=["GPU-0"], bases={"GPU-1": AFTER}))

    books.apply(waiting)

    assert (books.bases, books.former) == ({"GPU-1": AFTER}, [])
