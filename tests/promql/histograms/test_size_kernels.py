import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from promql.histograms.size_kernels import add_buckets_and_spans


@given(st.lists(st.sets(st.integers(-20, 20), max_size=12).map(sorted), max_size=5))
def test_equals_a_plain_count(histograms):
    start = np.cumsum([0, *map(len, histograms)]).astype(np.int64)
    index = np.array([i for buckets in histograms for i in buckets], dtype=np.int32)
    out = np.full(len(histograms), 7, dtype=np.int64)
    add_buckets_and_spans(start, index, out)
    plain = [
        7 + len(buckets) + sum(i - 1 not in buckets for i in buckets) for buckets in histograms
    ]
    assert out.tolist() == plain
