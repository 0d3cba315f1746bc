"""Native histograms through remote read: what is written is what the receiver's decoder reads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.federate import exposition
from api.receivers.remote_write_extras import Histogram, columns, read_extras
from api.remote_read import query_result
from api.remote_read_histograms import histogram_message
from api.wire import fields, signed
from tests.protobuf import varint
from tsdb.database import Database
from tsdb.interface import LabelSpans, Matcher, MatchOp, Selection


def back(message):
    """Read one Histogram message by way of a WriteRequest."""
    series = b"\x0a\x0d\x0a\x08__name__\x12\x01h" + b"\x22" + varint(len(message)) + message
    found = read_extras(b"\x0a" + varint(len(series)) + series)
    assert found.problem == ""
    return found.histogram_times[0], found.histograms[0]


buckets = st.dictionaries(st.integers(-500, 500), st.integers(0, 1 << 40), max_size=12).map(
    lambda found: sorted((index, float(count)) for index, count in found.items())
)


@st.composite
def histograms(draw):
    is_float = draw(st.booleans())
    custom = draw(st.booleans())
    positive, negative = draw(buckets), draw(buckets)
    bounds = []
    zero = float(draw(st.integers(0, 100)))
    if custom:
        positive = [(abs(i) % 10, c) for i, c in positive]
        positive = sorted(dict(positive).items())
        negative, zero, bounds = [], 0.0, [float(n) for n in range(10)]
    total = zero + sum(c for _, c in positive) + sum(c for _, c in negative)
    return Histogram(
        schema=-53 if custom else draw(st.integers(-4, 8)),
        hint=draw(st.integers(0, 3)),
        is_float=is_float,
        count=total,
        sum=draw(st.floats(allow_nan=False)),
        zero_threshold=0.0 if custom else draw(st.floats(0, 1)),
        zero_count=zero,
        positive=positive,
        negative=negative,
        bounds=bounds,
    )


@given(st.lists(histograms(), min_size=1, max_size=3), st.integers(-(2**60), 2**60))
def test_what_is_written_is_read_again(given_histograms, time_ms):
    made = columns(given_histograms)
    for row, histogram in enumerate(given_histograms):
        assert back(histogram_message(made, row, time_ms)) == (time_ms, histogram)


@pytest.mark.parametrize("floats", [True, False])
def test_histograms_stand_in_their_series(floats):
    storage = Database.in_memory()
    try:
        rows = [{"__name__": "h", "b": "2"}, {"__name__": "f"}, {"__name__": "h", "b": "1"}]
        refs = storage.resolve(LabelSpans.from_labels(rows))
        one = Histogram(0, 0, False, 3.0, 1.5, 0.0, 1.0, [(1, 2.0)], [], [])
        storage.append_histograms(
            refs[[0, 2, 0]], np.array([1000, 1000, 2000]), columns([one, one, one])
        )
        if floats:
            storage.append(refs[[1, 0]], np.array([1000, 3000]), np.array([7.0, 8.0]))
        selection = Selection((Matcher("__name__", MatchOp.MATCHES, "h|f"),), 0, 10_000)
        message = query_result(storage.select([selection])[0], {"z": "e"})
    finally:
        storage.close()
    found = []
    for _, series in fields(message):
        kinds = [number for number, _ in fields(series)]
        times = [
            signed(dict(fields(part))[15 if number == 4 else 2])
            for number, part in fields(series)
            if number in (2, 4)
        ]
        found.append((kinds.count(1), kinds.count(2), kinds.count(4), times))
    h2 = (3, 1, 2, [3000, 1000, 2000]) if floats else (3, 0, 2, [1000, 2000])
    f = [(2, 1, 0, [1000])] if floats else []
    assert found == [*f, (3, 0, 1, [1000]), h2]


def test_federation_leaves_series_out_whose_newest_sample_is_a_histogram():
    storage = Database.in_memory()
    try:
        rows = [{"__name__": name} for name in ("older", "float", "histogram", "newer")]
        refs = storage.resolve(LabelSpans.from_labels(rows))
        one = Histogram(0, 0, False, 3.0, 1.5, 0.0, 1.0, [(1, 2.0)], [], [])
        storage.append_histograms(
            refs[[0, 2, 3]], np.array([2000, 2000, 2000]), columns([one, one, one])
        )
        storage.append(refs[[0, 1, 3]], np.array([1000, 1000, 3000]), np.array([6.0, 7.0, 8.0]))
        matchers = (Matcher("__name__", MatchOp.MATCHES, ".+"),)
        text = exposition(storage, [matchers], 0, 10_000, {}).decode()
    finally:
        storage.close()
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    assert samples == ['float{instance=""} 7 1000', 'newer{instance=""} 8 3000']
