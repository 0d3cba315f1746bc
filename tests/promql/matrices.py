"""Matrices from plain rows and back, and a context to evaluate them in: for tests of the engine."""

import threading
import time

import numpy as np

from promql.annotations import Annotations
from promql.context import Budget, EvalContext
from promql.labels import QuerySymbols, SeriesLabels
from promql.matrix import Matrix, ScalarSteps
from promql.syntax import NumberLiteral

ANY = NumberLiteral(0.0)
"""A node for where an implementation does not look at it."""


def context(steps=1, **more):
    """Steps one minute apart from 0 on."""
    return EvalContext(
        steps_ms=np.arange(steps, dtype=np.int64) * 60_000,
        step_ms=60_000,
        start_ms=0,
        end_ms=(steps - 1) * 60_000,
        lookback_ms=300_000,
        symbols=QuerySymbols(None),
        annotations=Annotations("query"),
        budget=Budget(10**9, time.monotonic() + 1000, threading.Event()),
        **more,
    )


def matrix(rows, ctx, drop_name=()):
    """Build from (labels, values) pairs; None is absent. `drop_name` are row numbers."""
    steps = ctx.step_count
    values = np.full((len(rows), steps), 123456.0)  # garbage where absent
    present = np.zeros((len(rows), steps), dtype=np.bool_)
    for s, (_, row) in enumerate(rows):
        for t, value in enumerate(row):
            if value is not None:
                values[s, t], present[s, t] = value, True
    dropped = np.zeros(len(rows), dtype=np.bool_)
    dropped[list(drop_name)] = True
    labels = SeriesLabels.from_dicts([labels for labels, _ in rows], ctx.symbols)
    return Matrix(labels, values, present, dropped)


def rows(result):
    """The opposite: (labels, values) pairs of the rows that are present somewhere, in order."""
    assert result.values.shape == result.present.shape
    assert result.drop_name.shape == (result.labels.series_count,)
    return [
        (
            result.labels.row(s),
            [
                float(value) if there else None
                for value, there in zip(result.values[s], result.present[s], strict=True)
            ],
        )
        for s in range(result.labels.series_count)
        if result.present[s].any()
    ]


def by_labels(result):
    """The rows as a dict; fails on a label set that comes twice."""
    plain = [(tuple(sorted(labels.items())), values) for labels, values in rows(result)]
    assert len({labels for labels, _ in plain}) == len(plain)
    return dict(plain)


def key(**labels):
    return tuple(sorted(labels.items()))


def scalar(*values):
    return ScalarSteps(np.array(values, dtype=np.float64))


def assert_same(result, expected, rtol=1e-12):
    """Compare two dicts of rows: same label sets, same presence, close values, NaN equals NaN."""
    assert set(result) == set(expected)
    for labels, values in expected.items():
        assert [v is None for v in result[labels]] == [v is None for v in values], labels
        np.testing.assert_allclose(
            [v for v in result[labels] if v is not None],
            [v for v in values if v is not None],
            rtol=rtol,
            err_msg=str(labels),
        )
