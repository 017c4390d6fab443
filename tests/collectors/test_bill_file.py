import csv
import gzip
import io
from contextlib import nullcontext

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors import bill_csv, bill_file
from collectors.bill_csv import ROW
from collectors.bill_file import open_bill
from collectors.bill_refused import BillRefused
from collectors.errors import Unavailable

PLAIN = b"a,b,c\n1,2,3\n4,,6\n"


def read(tmp_path, content, name="bill.csv", **how):
    path = tmp_path / name
    path.write_bytes(content)
    file = open_bill(path, name, **how)
    return pl.concat([read() for read in file.batches(file.names)]).drop(ROW)


def reason(tmp_path, content, name="bill.csv"):
    with pytest.raises(BillRefused) as refused:
        read(tmp_path, content, name)
    assert str(refused.value).startswith(f"{name}: ")
    return str(refused.value)


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        b"\xef\xbb\xbf" + PLAIN,
        PLAIN.replace(b"\n", b"\r\n"),
        PLAIN.replace(b",,", b",NULL,"),
        PLAIN.replace(b",,", b",null,"),
        PLAIN.replace(b",,", b',"",'),
        PLAIN.replace(b"4", b"\n4") + b"\n\n",
        b'"a","b","c"\n"1","2","3"\n"4",,"6"\n',
        gzip.compress(PLAIN),
        gzip.compress(PLAIN.rstrip()),
    ],
    ids=["plain", "bom", "crlf", "NULL", "null", "quoted empty", "blank lines", "quotes", "gzip", "open gzip"],
)
def test_one_table_in_many_spellings_is_one_table(tmp_path, content):
    assert read(tmp_path, content).rows() == [("1", "2", "3"), ("4", None, "6")]


def test_parquet_is_told_by_its_bytes_not_by_its_name(tmp_path):
    pl.DataFrame({"a": [1], "b": ["x"]}).write_parquet(tmp_path / "p")
    assert read(tmp_path, (tmp_path / "p").read_bytes(), "bill.csv").rows() == [(1, "x")]


def test_text_with_commas_quotes_and_line_ends_in_it_is_counted_rightly(tmp_path):
    assert read(tmp_path, b'a,b\n"x, y","say ""hi"", twice"\n"two\nlines, one cell",z\n').rows() == [
        ("x, y", 'say "hi", twice'),
        ("two\nlines, one cell", "z"),
    ]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"a,b,c\n1,2,3\n4,5\n7,8,9\n", "line 3 has 2 cells where the header has 3; the file is cut off or damaged"),
        (gzip.compress(b"a,b,c\n1,2,3\n4,5"), "line 3 has 2 cells"),
        (gzip.compress(b"a,b,c\n1,2,3\n4,"), "line 3 has 2 cells"),
        (gzip.compress(b"a,b,c\n1,2,3\n4"), "line 3 has 1 cells"),
        (b"a,b,c\n1,2,3,4\n", "line 2 has 4 cells where the header has 3"),
        (b'a,b,c\n"x\ny",2,3\n1,2\n', "line 4 has 2 cells"),
        (gzip.compress(b'a,b,c\n1,2,3\n4,5,"cut'), "line 3 cannot be read"),
        (b'a,b,c\n1,2,3\n4,5,"cut\n', "line 3 cannot be read"),
        (
            b"a,b,c\n1,2,3\n4,5,cu",
            "does not end, so it may be cut off; deliver it again, or where it is known to be whole, put a line end",
        ),
        (b"a,b,c\r\n1,2,3\r", "the last line does not end"),
        (b"a,b,c", "the last line does not end"),
        (b"a,b,c\n1,2,\xff\n", "line 2 is not in UTF-8"),
        (b"", "the file is empty"),
        (b"a;b;c\n1;2;3\n", "separated by semicolons; export it with commas, and decimal points"),
        (b"a,b,a\n1,2,3\n", "the columns a stand twice"),
        (b"PK\x03\x04rest", "a zip archive is not read; deliver CSV in UTF-8"),
        ("a,b\n".encode("utf-16"), "UTF-16 is not read"),
        (gzip.compress(PLAIN * 1000)[:-9], "the gzip ends too early"),
        (gzip.compress(PLAIN * 1000)[:40], "the gzip ends too early"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_what_is_cut_off_or_damaged_is_refused_with_the_line(tmp_path, content, why):
    assert why in reason(tmp_path, content)


@pytest.mark.parametrize("wanted", [["a"], ["b"], ["c"], ["a", "c"]])
@pytest.mark.parametrize("row", [b"1,2", b"1", b"1,2,3,4", b"1,2,3,", b"1,2,3,\x1f", b'1,"2,3"', b'1,"2""",3,4,5'])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_cells_are_counted_of_columns_too_that_nobody_asked_for(tmp_path, wanted, row, end):
    (tmp_path / "x.csv").write_bytes(end.join([b"a,b,c", *[b"7,8,9"] * 40, row, *[b"7,8,9"] * 40, b""]))
    file = open_bill(tmp_path / "x.csv", "x.csv")
    with pytest.raises(BillRefused, match="line 42 has"):
        [read() for read in file.batches(wanted)]


@given(
    rows=st.lists(st.lists(st.text('ab,"\r\n\x1fé N', max_size=4), min_size=3, max_size=3), min_size=1, max_size=30),
    size=st.sampled_from([1, 16, 64, 1 << 20]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_whatever_stands_in_cells_each_comes_as_it_was_written(tmp_path_factory, rows, size, end):
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        bare = not any("\r" in cell for row in rows for cell in row)  # which the writer leaves bare
        quoting = csv.QUOTE_MINIMAL if bare else csv.QUOTE_ALL
        csv.writer(file, lineterminator=end, quoting=quoting).writerows([["a", "b", "c"], *rows])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bill_csv, "BLOCK", size)
        patch.setattr(bill_csv, "_LONGEST_RECORD", 1 << 10)
        read = pl.concat([each().drop(ROW) for each in open_bill(path, "x.csv").batches(["a", "c"])])
    filled = [row for row in rows if any(row)]
    assert read.rows() == [(row[0] or None, row[2] or None) for row in filled]


def test_blank_lines_do_not_hide_a_row_that_is_short(tmp_path):
    assert "line 6 has 1 cells" in reason(tmp_path, b"a,b,c\n\n1,2,3\n\n\n4\n")


def test_a_row_that_is_short_is_found_in_whichever_batch_it_comes(tmp_path, monkeypatch):
    monkeypatch.setattr(bill_csv, "BLOCK", 64)
    rows = [b"1,2,3\n"] * 95
    assert read(tmp_path, b"".join([b"a,b,c\n", *rows])).height == 95
    rows[57] = b"1,2\n"
    assert "line 59 has 2 cells" in reason(tmp_path, b"".join([b"a,b,c\n", *rows]))


@pytest.mark.parametrize("size", [1, 7, 16, 64])
def test_blocks_end_where_records_do_whatever_stands_in_them(tmp_path, monkeypatch, size):
    content = b'\xef\xbb\xbf"a\nb",c\r\n' + b'"one, ""two""\n\n, three",4\r\n\r\n5,"6"\r\n' * 9
    whole = read(tmp_path, content)
    assert whole.height == 18
    monkeypatch.setattr(bill_csv, "BLOCK", size)
    monkeypatch.setattr(bill_csv, "_LONGEST_RECORD", 64)
    assert read(tmp_path, content).equals(whole)
    assert read(tmp_path, gzip.compress(content)).equals(whole)


def test_a_quote_that_is_never_closed_does_not_draw_the_file_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(bill_csv, "BLOCK", 64)
    assert "a quoted cell does not end" in reason(tmp_path, b'a,b\n1,"2\n' + b"3,4\n" * 1000)


def test_parquet_is_read_in_slices_that_make_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(bill_file, "ROWS", 7)
    frame = pl.DataFrame({"a": range(50)})
    frame.write_parquet(tmp_path / "p")
    assert read(tmp_path, (tmp_path / "p").read_bytes(), "p").equals(frame)


@given(
    rows=st.lists(st.lists(st.text('a,"\né', max_size=4), min_size=3, max_size=3), min_size=1, max_size=4),
    end=st.sampled_from(["\n", "\r\n"]),
    wanted=st.sampled_from([["a"], ["b", "tags"]]),
    data=st.data(),
)
def test_a_cut_anywhere_is_refused_apart_from_exactly_between_two_lines(tmp_path_factory, rows, end, wanted, data):
    whole, between = b"", set()
    for row in [["a", "b", "tags"], *rows]:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator=end).writerow(row)
        whole += text.getvalue().encode()
        between.add(len(whole))
    cut = data.draw(st.integers(0, len(whole)))
    path = tmp_path_factory.mktemp("cut") / "x.csv"
    path.write_bytes(whole[:cut])
    refused = nullcontext() if cut in between else pytest.raises(BillRefused, match=r"x\.csv: .*; ")
    with refused:
        [read() for read in open_bill(path, "x.csv").batches(wanted)]


def test_parquet_without_its_end_is_refused(tmp_path):
    pl.DataFrame({"a": list(range(1000))}).write_parquet(tmp_path / "p")
    assert "deliver it again" in reason(tmp_path, (tmp_path / "p").read_bytes()[:-6], "bill.parquet")


def test_parquet_with_a_damaged_middle_is_refused(tmp_path):
    pl.DataFrame({"a": [str(n * 7919) for n in range(10_000)]}).write_parquet(tmp_path / "p")
    content = bytearray((tmp_path / "p").read_bytes())
    content[1000:2000] = bytes(1000)
    assert "deliver it again" in reason(tmp_path, bytes(content), "bill.parquet")


def test_columns_that_a_file_lacks_are_given_their_one_value_and_never_override_what_it_says(tmp_path):
    assert read(tmp_path, PLAIN, complete={"b": "never", "d": "USD"}).rows() == [
        ("1", "2", "3", "USD"),
        ("4", None, "6", "USD"),
    ]


def test_rows_know_the_line_that_they_stand_on(tmp_path):
    (tmp_path / "x.csv").write_bytes(b'a,b\n"1\n1",2\n\n3,4\n')
    file = open_bill(tmp_path / "x.csv", "x.csv")
    numbers = [row for read in file.batches(file.names) for row in read()[ROW]]
    assert [file.line_of(row) for row in numbers] == [3, 5]


def test_a_file_that_is_not_there_is_tried_again_later_rather_than_refused(tmp_path):
    with pytest.raises(Unavailable, match="check that it is there and may be read"):
        open_bill(tmp_path / "gone.csv", "gone.csv")
