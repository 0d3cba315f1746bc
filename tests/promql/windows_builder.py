"""Windows of a few series, built by hand: what the kernels of functions are tested on."""

from __future__ import annotations

import threading
import time

import numpy as np

from promql.annotations import Annotations
from promql.context import Budget, EvalContext, SampleCounts
from promql.labels import QuerySymbols, SeriesLabels
from promql.windows import Samples, windows


def context(steps_ms, *, query="", samples_max=1_000_000, **changes):
    """An EvalContext with generous limits."""
    steps = np.array(steps_ms, dtype=np.int64)
    given = {
        "steps_ms": steps,
        "step_ms": 1000,
        "start_ms": int(steps[0]),
        "end_ms": int(steps[-1]),
        "lookback_ms": 300_000,
        "symbols": QuerySymbols(None),
        "annotations": Annotations(query),
        "budget": Budget(samples_max, time.monotonic() + 60, threading.Event()),
        "counts": SampleCounts(steps.size),
    }
    return EvalContext(**{**given, **changes})


def samples(series, symbols, labels=None):
    """Samples of `series`, a list of (times, values); equal times are shared."""
    times, values, rows = [], [], []
    runs = {}
    for at, (own_times, own_values) in enumerate(series):
        run = tuple(own_times)
        if run not in runs:
            runs[run] = len(times)
            times += run
        rows.append((runs[run], len(values), len(run)))
        values += list(own_values)
        assert len(own_values) == len(run), at
    starts = np.array(rows, dtype=np.int64).reshape(-1, 3)
    texts = labels or [{"__name__": "m_total", "n": str(at)} for at in range(len(series))]
    distinct = sorted({(start, count) for start, _, count in rows})
    return Samples(
        labels=SeriesLabels.from_dicts(texts, symbols),
        times=np.array(times, dtype=np.int64),
        time_start=np.ascontiguousarray(starts[:, 0]),
        values=np.array(values, dtype=np.float64),
        value_start=np.ascontiguousarray(starts[:, 1]),
        count=np.ascontiguousarray(starts[:, 2]),
        run_of=np.array([distinct.index((s, c)) for s, _, c in rows], dtype=np.int64),
        run_start=np.array([start for start, _ in distinct], dtype=np.int64),
        run_count=np.array([count for _, count in distinct], dtype=np.int64),
    )


def view(series, ctx, range_ms, labels=None):
    """The windows of `range_ms` that end at the steps of `ctx`."""
    columns = samples(series, ctx.symbols, labels)
    unmarked = np.zeros(len(series), dtype=np.bool_)
    return windows(columns, ctx.steps_ms, range_ms, unmarked, ctx)


def plain_window(times, values, end, range_ms):
    """The definition: the samples in (end - range, end]."""
    return [
        (time, value)
        for time, value in zip(times, values, strict=True)
        if end - range_ms < time <= end
    ]
