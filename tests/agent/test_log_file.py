import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.log_file import LogFile, decode_line, encode_line, write_atomically


def records(path):
    with LogFile(path) as log:
        return list(log.records())


def test_what_was_appended_comes_back_in_order(tmp_path):
    path = tmp_path / "log"
    with LogFile(path) as log:
        log.append(encode_line({"n": 1}) + encode_line({"n": 2}))
        log.append(encode_line({"n": 3}))

    assert records(path) == [{"n": 1}, {"n": 2}, {"n": 3}]


@given(st.data())
def test_a_log_cut_anywhere_gives_its_whole_records(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("log") / "log"
    lines = [encode_line({"n": n, "text": "x" * n}) for n in range(5)]
    whole = b"".join(lines)
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])

    found = records(path)

    complete = sum(1 for n in range(1, 6) if sum(map(len, lines[:n])) <= cut)
    assert [record["n"] for record in found] == list(range(complete))


def test_after_a_torn_tail_the_log_goes_on_behind_the_last_whole_record(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(encode_line({"n": 1}) + encode_line({"n": 2})[:-3])
    with LogFile(path) as log:
        assert list(log.records()) == [{"n": 1}]
        assert log.dropped_bytes == len(encode_line({"n": 2})) - 3
        log.append(encode_line({"n": 3}))

    assert records(path) == [{"n": 1}, {"n": 3}]


@pytest.mark.parametrize("place", [0, 10, -2])
def test_a_damaged_record_ends_the_log(tmp_path, place):
    line = bytearray(encode_line({"n": 2}))
    line[place] ^= 1
    path = tmp_path / "log"
    path.write_bytes(encode_line({"n": 1}) + bytes(line))

    assert records(path) == [{"n": 1}]


def test_a_refused_write_leaves_the_log_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "log"
    with LogFile(path) as log:
        log.append(encode_line({"n": 1}))
        whole = os.pwrite

        def half(descriptor, data, offset):
            if len(data) > 5:
                return whole(descriptor, data[:5], offset)
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "pwrite", half)
        with pytest.raises(OSError, match="No space"):
            log.append(encode_line({"n": 2}))
        monkeypatch.undo()
        log.append(encode_line({"n": 3}))

    assert records(path) == [{"n": 1}, {"n": 3}]


def test_a_line_that_is_no_record_is_refused():
    with pytest.raises(ValueError, match="cut or damaged"):
        decode_line(b"00000000 {}\n")


def test_writing_atomically_leaves_no_partial_file_on_failure(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def refuse(_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="Input/output"):
        write_atomically(path, b"new")

    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
