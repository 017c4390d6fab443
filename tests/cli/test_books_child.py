"""The controller beside a node: started again when it dies, ended with its parent, left out where it cannot be."""

import logging
import sys
import time

import pytest

from cli import books_child
from cli.books_child import BooksChild
from tests.integration.agent_process import eventually

PROGRAM = """
import pathlib, sys, time
lives = pathlib.Path(sys.argv[1])
lives.open("a").write("x")
how = sys.argv[2]
if how == "refuses" or (how == "refuses once" and lives.read_text() == "x"):
    sys.exit(2)
if how == "dies" and len(lives.read_text()) < 3:
    sys.exit(7)
if how == "deaf":
    time.sleep(600)
sys.stdin.read()
lives.open("a").write("ended")
"""


@pytest.fixture
def child(tmp_path, monkeypatch):
    """``child("dies")`` is a child of that manner and the file that tells of its lives."""
    monkeypatch.setattr(books_child, "_FIRST_SECONDS", 0.02)
    monkeypatch.setattr(books_child, "_ENDING_SECONDS", 1.0)
    script, lives = tmp_path / "program.py", tmp_path / "lives"
    script.write_text(PROGRAM.replace("sys.argv[1]", repr(str(lives))).replace("sys.argv[2]", "sys.argv[-1]"))
    made = []

    def make(manner):
        found = BooksChild([manner], program=(sys.executable, str(script)))
        made.append(found)
        found.start()
        return found, lambda: lives.read_text() if lives.exists() else ""

    yield make
    for each in made:
        each.end()


def test_it_is_told_to_end_and_ends_in_order(child):
    books, lives = child("waits")
    eventually("it lives", lambda: lives() == "x")
    books.end()
    assert lives() == "xended"
    assert books.pid is None


def test_one_that_dies_is_started_again(child, caplog):
    _, lives = child("dies")
    eventually("its third life", lambda: lives() == "xxx")
    assert [line.rpartition(";")[0] for line in caplog.messages] == ["the controller ended with status 7"] * 2


def test_one_that_refuses_is_left_alone_for_a_while(child, caplog):
    books, lives = child("refuses")
    eventually("it is said", lambda: caplog.messages)
    time.sleep(0.1)
    assert lives() == "x"
    assert books.pid is None
    assert "the controller refuses to start, so no books are kept" in caplog.messages[0]
    assert caplog.messages[0].endswith("it is tried again in 600 s")


def test_one_that_refused_is_tried_again(child, monkeypatch):
    monkeypatch.setattr(books_child, "_REFUSED_SECONDS", 0.02)
    books, lives = child("refuses once")
    eventually("its second life", lambda: lives() == "xx")
    eventually("it is watched", lambda: books.pid)


def test_one_that_does_not_end_is_killed(child, caplog):
    books, lives = child("deaf")
    eventually("it lives", lambda: lives() == "x")
    books.end()
    assert books.pid is None
    assert "does not end and is killed" in caplog.messages[0]


def test_what_is_missing_is_said_once_and_the_node_goes_on(monkeypatch, caplog):
    monkeypatch.setattr(
        books_child, "missing_extra", lambda: "polars not installed: pip install 'wattledger[controller]'"
    )
    assert books_child.NodeBooks.beside(None, None, None) is None
    assert caplog.messages == ["no books are kept: polars not installed: pip install 'wattledger[controller]'"]


def test_a_program_that_is_not_there_leaves_the_node_alone(tmp_path):
    with pytest.raises(FileNotFoundError):
        BooksChild([], program=(str(tmp_path / "none"),)).start()


def test_the_pause_grows_with_each_death(child, monkeypatch, caplog):
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(books_child, "_FIRST_SECONDS", 0.5)
    child("dies")
    eventually("two deaths", lambda: len(caplog.messages) == 2)
    assert [line.rpartition(" in ")[2] for line in caplog.messages] == ["1 s", "2 s"]
