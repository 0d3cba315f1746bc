"""Hypothesis strategies and a runner for functions of range vectors, shared by their tests."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from promql.functions import implementation
from promql.matrix import ScalarSteps
from promql.parse import parse
from tests.promql.windows_builder import context, plain_window, view

RANGE_MS = 60_000
STEPS = [40_000, 60_000, 95_000, 95_000, 200_000, 900_000]

numbers = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 2.0, 5.0, np.nan, np.inf, -np.inf, 1e308, -1e308]),
    st.floats(-1e6, 1e6),
)
finite = st.one_of(st.sampled_from([0.0, 1.0, 2.0, 3.0]), st.floats(-1e6, 1e6))


@st.composite
def series_lists(draw, values=numbers):
    """Up to four series, some of which share their times."""
    times = st.lists(st.integers(0, 200), max_size=30, unique=True).map(
        lambda seconds: [second * 1000 for second in sorted(seconds)]
    )
    runs = draw(st.lists(times, min_size=1, max_size=3))
    chosen = draw(st.lists(st.sampled_from(runs), min_size=1, max_size=4))
    return [(run, draw(st.lists(values, min_size=len(run), max_size=len(run)))) for run in chosen]


def evaluate(text, series, *, steps=STEPS, range_ms=RANGE_MS, scalars=(), labels=None, **changes):
    """Call the function of the query `text` on hand-made windows; return matrix and context."""
    ctx = context(steps, query=text, **changes)
    node = parse(text, frozenset({"promql-experimental-functions"}))
    windows = view(series, ctx, range_ms, labels)
    constants = [ScalarSteps(np.full(len(steps), scalar)) for scalar in scalars]
    first = [*constants, windows] if node.func == "quantile_over_time" else [windows, *constants]
    return implementation(node.func)(node, first, ctx), ctx


def assert_equals_definition(text, series, plain, *, scalars=(), rtol=1e-12):
    """Compare with `plain(times, values, end_ms)` of each window; None means absent."""
    matrix, _ = evaluate(text, series, scalars=scalars)
    for row, (times, values) in enumerate(series):
        for step, end in enumerate(STEPS):
            window = plain_window(times, values, end, RANGE_MS)
            expected = plain([t for t, _ in window], [v for _, v in window], end)
            where = f"series {row}, step {end}, window {window}"
            assert matrix.present[row, step] == (expected is not None), where
            if expected is not None:
                got = matrix.values[row, step]
                np.testing.assert_allclose(got, expected, rtol=rtol, atol=1e-300, err_msg=where)
