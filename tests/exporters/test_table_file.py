"""A table in a file, made of parts: whole, in order, with how far it is; or what stood there still stands."""

import polars as pl
import pytest

from exporters.table_file import write_in_parts

PARTS = [pl.LazyFrame({"a": [1, 2]}), pl.LazyFrame({"a": [3]})]


@pytest.mark.parametrize(("name", "read"), [("t.csv", pl.read_csv), ("t.parquet", pl.read_parquet)])
def test_parts_stand_one_after_the_other_and_each_is_told(tmp_path, name, read):
    told = []
    write_in_parts(PARTS, tmp_path / name, lambda *step: told.append(step))
    assert read(tmp_path / name)["a"].to_list() == [1, 2, 3]
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_a_part_that_fails_leaves_what_stood_there_and_nothing_beside_it(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("before")
    bad = pl.LazyFrame({"a": ["x"]}).select(pl.col("a").cast(pl.Int64))
    with pytest.raises(pl.exceptions.InvalidOperationError):
        write_in_parts([*PARTS, bad], file, lambda *_: None)
    assert (file.read_text(), list(tmp_path.iterdir())) == ("before", [file])


def test_a_name_that_says_no_format_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.csv or \.parquet"):
        write_in_parts(PARTS, tmp_path / "t.txt", lambda *_: None)
    assert list(tmp_path.iterdir()) == []
