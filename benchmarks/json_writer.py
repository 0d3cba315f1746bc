"""How long the JSON of a query result takes, for each point.

    python -m benchmarks.json_writer

Matrices of several kinds of values go through `api.json_writer.result_chunks`; repr() of every
value into a joined list is what plain Python would do. CPU time of the thread counts, the least of
some runs, so that others on the machine do not.
"""

from __future__ import annotations

import time

import numpy as np

from api.json_writer import result_chunks
from promql.labels import QuerySymbols, SeriesLabels
from promql.result import MatrixResult, RawResult, VectorResult

SERIES, STEPS, REPEATS = 1_000, 361, 7


def labels_of(count):
    """Return the labels of so many series, as node_exporter has them."""
    rows = [
        {"__name__": "node_cpu_seconds_total", "cpu": str(i % 64), "instance": f"host-{i}:9100",
         "job": "node", "mode": ("idle", "user", "system")[i % 3]}
        for i in range(count)
    ]  # fmt: skip
    return SeriesLabels.from_dicts(rows, QuerySymbols(None))


def best_s(work):
    """Return the shortest of some runs, in CPU seconds."""
    times = []
    for _ in range(REPEATS):
        begin = time.thread_time()
        work()
        times.append(time.thread_time() - begin)
    return min(times)


def main():
    """Print nanoseconds a point for each kind of result."""
    rng = np.random.default_rng(1)
    shape = (SERIES, STEPS)
    labels = labels_of(SERIES)
    steps = 1_795_470_000_000 + np.arange(STEPS, dtype=np.int64) * 15_000
    kinds = {
        "full precision": rng.random(shape),
        "counters": np.cumsum(rng.integers(0, 1000, shape), axis=1).astype(np.float64),
        "three decimals": rng.integers(0, 10**7, shape) / 1000,
        "rates of counters": rng.integers(0, 10**7, shape) / 285.0,
        "a constant": np.full(shape, 7.25),
    }
    present = np.ones(shape, dtype=np.bool_)
    for kind, values in kinds.items():
        result = MatrixResult(steps, labels, values, present)
        seconds = best_s(lambda result=result: sum(map(len, result_chunks(result))))
        print(f"matrix, {kind}: {seconds * 1e9 / values.size:.1f} ns a point")
    values = kinds["full precision"]
    start = np.arange(SERIES, dtype=np.int64) * STEPS
    count = np.full(SERIES, STEPS, dtype=np.int64)
    raw = RawResult(labels, np.tile(steps + 7, SERIES), start, values.ravel(), start, count)
    seconds = best_s(lambda: sum(map(len, result_chunks(raw))))
    print(f"raw samples, full precision: {seconds * 1e9 / values.size:.1f} ns a point")
    vector = VectorResult(int(steps[0]) + 7, labels, values[:, 0].copy())
    seconds = best_s(lambda: sum(map(len, result_chunks(vector))))
    print(f"instant vector, five labels: {seconds * 1e9 / SERIES:.1f} ns a series")
    plain = values[:10].tolist()
    stamps = (steps / 1000).tolist()
    seconds = best_s(
        lambda: [
            ",".join([f'[{t!r},"{v!r}"]' for t, v in zip(stamps, row, strict=True)])
            for row in plain
        ]
    )
    print(f"plain Python, full precision: {seconds * 1e9 / (10 * STEPS):.1f} ns a point")


if __name__ == "__main__":
    main()
