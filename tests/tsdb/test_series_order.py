from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tsdb.block_models import label_sets, to_batch
from tsdb.series_order import is_strictly_ordered, series_order
from tsdb.symbols import SymbolTable

LABELS = ["__name__", "job", "le", "é"]


@settings(max_examples=60, deadline=None)
@given(keys=st.lists(label_sets, unique=True))
def test_series_are_sorted_by_name_then_label_by_label(keys):
    labels = to_batch({key: {1: 1} for key in keys}, SymbolTable()).labels
    texts = [tuple(dict(key).get(name, "") for name in LABELS) for key in keys]
    assert [texts[at] for at in series_order(labels)] == sorted(texts)


@pytest.mark.parametrize(
    ("columns", "ordered"),
    [
        pytest.param([[]], True, id="no rows"),
        pytest.param([[5]], True, id="one row"),
        pytest.param([[1, 1, 2], [1, 2, 0]], True, id="the second column decides between equals"),
        pytest.param([[1, 1], [2, 2]], False, id="a row twice"),
        pytest.param([[1, 0], [1, 2]], False, id="the first column falls"),
    ],
)
def test_strictly_ordered(columns, ordered):
    assert is_strictly_ordered(np.array(columns, dtype=np.int64)) == ordered
