from __future__ import annotations

import hypothesis.extra.numpy as npst
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tsdb.distinct import distinct


@given(
    st.sampled_from([np.int32, np.uint32, np.int64]).flatmap(
        lambda kind: npst.arrays(kind, npst.array_shapes(max_dims=2, min_side=0, max_side=30))
    )
)
def test_as_numpy_has_it(numbers):
    found = distinct(numbers)
    assert found.dtype == numbers.dtype
    assert found.tolist() == sorted(set(numbers.ravel().tolist()))
