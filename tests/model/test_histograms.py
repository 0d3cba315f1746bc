"""The same machine with native histograms among the floats of every series."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.model.test_database import SERIES, DatabaseMachine, times
from tests.tsdb.block_models import bits
from tests.tsdb.histogram_models import histograms, to_columns
from tsdb.histograms import buffer as histogram_buffer
from tsdb.interface import AppendStatus, LabelSpans

batches = st.lists(
    st.tuples(st.integers(0, len(SERIES) - 1), times, histograms()), min_size=1, max_size=12
)


def regular(step: int, first_bucket: int) -> tuple:
    """What a process shows at its k-th scrape; a bucket more after each ten."""
    buckets = tuple((first_bucket + j, bits(step)) for j in range(3 + step // 10))
    return (2, 0, False, bits(step * len(buckets)), bits(step / 3), 0, 0, buckets, (), ())


class HistogramMachine(DatabaseMachine):
    """The model is `{labels: {time: bits or histogram}}`; the first sample of a time stays."""

    def __init__(self) -> None:
        super().__init__()
        self.seal_bytes = histogram_buffer.SEAL_BYTES
        histogram_buffer.SEAL_BYTES = 3000

    def teardown(self) -> None:
        super().teardown()
        histogram_buffer.SEAL_BYTES = self.seal_bytes

    @rule()
    def seal(self) -> None:
        self.database._head.seal_histograms()

    @rule(batch=batches)
    def append_histograms(self, batch: list[tuple[int, int, tuple]]) -> None:
        refs = self.database.resolve(LabelSpans.from_labels(SERIES[s] for s, _, _ in batch))
        columns = to_columns(histogram for _, _, histogram in batch)
        at = np.array([time for _, time, _ in batch])
        for (series, time, histogram), status in zip(
            batch, self.database.append_histograms(refs, at, columns).tolist(), strict=True
        ):
            stored = self.model.setdefault(frozenset(SERIES[series].items()), {})
            if time not in stored:
                assert status == AppendStatus.STORED
                stored[time] = histogram
                continue
            there = stored[time]
            # What was known of resets is no part of the value.
            same = not isinstance(there, int) and (there[0], there[2:]) == (
                histogram[0],
                histogram[2:],
            )
            refused = AppendStatus.DUPLICATE if same else AppendStatus.CONFLICT
            # A repetition of what only a block has is found out when it is read.
            assert status in (refused, AppendStatus.STORED)

    @rule(first=st.integers(0, 5), step=st.integers(1, 40), count=st.integers(1, 60))
    def scrape_histograms(self, first: int, step: int, count: int) -> None:
        newest = max((max(s) for s in self.model.values() if s), default=0)
        for k in range(1, count + 1):
            self.append_histograms(
                [(s, newest + k * step, regular(k, s)) for s in range(first, len(SERIES))]
            )


TestHistograms = HistogramMachine.TestCase
TestHistograms.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
