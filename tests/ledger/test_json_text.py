import json

from hypothesis import given
from hypothesis import strategies as st

from ledger.json_text import compact

DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(DOCUMENTS, st.integers(0, 6))
def test_a_document_in_parts_is_the_text_of_the_whole(document, depth):
    assert compact(document, depth) == json.dumps(document, separators=(",", ":"))


def test_rows_that_are_tuples_are_lists():
    assert compact({"rows": [(1, "a"), (2, "b")]}) == '{"rows":[[1,"a"],[2,"b"]]}'
