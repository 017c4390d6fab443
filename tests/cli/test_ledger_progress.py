"""A command that reads for long shows how far it is: on a terminal's error stream alone, and leaves nothing there."""

import json
import os
import pty
import subprocess
import threading
from contextlib import contextmanager

import pytest

from tests.integration.agent_process import WATTLEDGER
from tests.ledger.books_rig import books

WINDOW = ("--window", "2026-11-01T00:00:00Z,2026-11-03T00:00:00Z")
COMMANDS = {
    "show --json": (("show", *WINDOW, "--json"), "parts", "rows"),
    "explain --json": (("explain", "2026-11-01T05:00Z", "--json"), "rows", "rows"),
    "verify --json": (("verify", *WINDOW, "--json"), "days", "laws"),
}
GONE = "\x1b[2K"
"""Erases a line."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    books(folder / "ledger")
    return folder


@contextmanager
def terminal():
    """Where to write, and a function that ends it and tells what was written."""
    ours, theirs = pty.openpty()
    said = bytearray()

    def read():
        try:
            while chunk := os.read(ours, 4096):
                said.extend(chunk)
        except OSError:
            return  # nobody holds the other end any more

    reader = threading.Thread(target=read)
    reader.start()
    open_ends = [theirs]

    def ended():
        os.close(open_ends.pop())
        reader.join()
        return said.decode()

    try:
        yield theirs, ended
    finally:
        if open_ends:
            ended()
        os.close(ours)


def run(folder, arguments, stderr):
    command = [*WATTLEDGER, "ledger", arguments[0], "--data-dir", str(folder), *arguments[1:]]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, env=environment, text=True, check=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_on_a_terminal_progress_is_shown_beside_the_answer_and_taken_away(folder, command):
    arguments, bar, key = COMMANDS[command]
    with terminal() as (stderr, ended):
        answer = run(folder, arguments, stderr)
        said = ended()
    assert bar in said
    assert said.rstrip().endswith(GONE)
    assert json.loads(answer.stdout)[key]


def test_csv_and_tables_have_none_of_it(folder):
    with terminal() as (stderr, ended):
        answer = run(folder, ("show", *WINDOW, "--csv"), stderr)
        assert "parts" in ended()
    assert answer.stdout.startswith("team,workload,")
    assert not {"\x1b", "parts"} & {*answer.stdout.split(), *answer.stdout}


def test_the_export_of_a_table_shows_how_far_it_is(folder, tmp_path):
    with terminal() as (stderr, ended):
        run(folder, ("export", *WINDOW, "--table", "usage", str(tmp_path / "t.csv")), stderr)
        said = ended()
    assert "days" in said
    assert said.rstrip().endswith(GONE)
    assert [each.name for each in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize("command", COMMANDS)
def test_where_there_is_no_terminal_nothing_is_said(folder, command):
    assert run(folder, COMMANDS[command][0], subprocess.PIPE).stderr == ""
