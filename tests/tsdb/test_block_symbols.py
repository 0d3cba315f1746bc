from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsdb.block_symbols import BlockSymbols


def table(texts) -> BlockSymbols:
    encoded = [text.encode() for text in texts]
    offset = np.cumsum([0, *map(len, encoded)]).astype(np.uint16)
    return BlockSymbols(offset, np.frombuffer(b"".join(encoded), dtype=np.uint8))


@settings(max_examples=60, deadline=None)
@given(
    some=st.sets(st.text(st.characters(codec="utf-8"), max_size=5)),
    other=st.text(st.characters(codec="utf-8"), max_size=5),
)
def test_every_text_is_found_and_no_other(some, other):
    texts = sorted({"", *some})
    symbols = table(texts)
    assert [symbols.find(text) for text in texts] == list(range(len(texts)))
    assert symbols.texts(np.arange(len(texts), dtype=np.uint32)) == texts
    assert [symbols.text(at) for at in range(len(texts))] == texts
    assert (symbols.find(other) is not None) == (other in texts)
    assert symbols.first_from(other.encode()) == sum(text < other for text in texts)


def test_an_id_never_given_out_is_refused():
    with pytest.raises(IndexError):
        table(["", "a"]).text(2)
