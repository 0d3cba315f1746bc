"""Time the query engine by itself, for each point of its answer.

No storage: a synthetic batch of counters lies in memory, shared times for the series of one target,
as scraping leaves it. So this measures windows, kernels, grouping and result building.

    python -m benchmarks.query_engine [--threads N] [--repeat N]
"""

from __future__ import annotations

import argparse
import platform
import time
from typing import TYPE_CHECKING

import numpy as np

from promql.engine import Engine, EngineOptions
from tsdb.interface import LabelColumns, SeriesBatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tsdb.interface import Selection

SCRAPE_MS = 15_000
SERIES_A_TARGET = 24


class Texts:
    """The symbols of the batch: text i is `t<i>`, the metric's name is 1."""

    def text(self, symbol: int) -> str:
        """Return the text of one id."""
        return "" if symbol == 0 else "m_total" if symbol == 1 else f"t{symbol:07d}"

    def texts(self, symbols: np.ndarray) -> list[str]:
        """Return the texts of many ids."""
        return [self.text(symbol) for symbol in symbols.tolist()]

    def find(self, text: str) -> int | None:
        """Return None: no query here asks by text."""
        return None


class Batch:
    """A SeriesReader with one answer to every selection."""

    def __init__(self, series: int, samples: int) -> None:
        targets = -(-series // SERIES_A_TARGET)
        target = np.arange(series) // SERIES_A_TARGET
        ids = np.stack([np.full(series, 1), np.arange(series) % 24 + 10, target + 100])
        offsets = np.linspace(0, SCRAPE_MS, targets, endpoint=False).astype(np.int64)
        times = offsets[:, np.newaxis] + np.arange(samples, dtype=np.int64) * SCRAPE_MS
        rng = np.random.default_rng(1)
        values = rng.integers(0, 100, (series, samples)).cumsum(axis=1).astype(np.float64)
        values[:, samples // 2 :] -= values[:, samples // 2, np.newaxis]  # everybody restarts once
        self.batch = SeriesBatch(
            labels=LabelColumns(("__name__", "cpu", "instance"), ids.astype(np.uint32), Texts()),
            times=times.reshape(-1),
            time_start=target * samples,
            values=values.reshape(-1),
            value_start=np.arange(series) * samples,
            count=np.full(series, samples),
        )

    def select(
        self, selections: Sequence[Selection], *, samples_max: int | None = None
    ) -> list[SeriesBatch]:
        """Return the batch, whatever is asked."""
        return [self.batch] * len(selections)


def measure(engine: Engine, query: str, steps: int, step_ms: int, repeat: int) -> float:
    """Return the best seconds of `repeat` range queries that end with the data."""
    best = float("inf")
    for _ in range(repeat):
        begin = time.perf_counter()
        engine.range(query, 600_000, 600_000 + (steps - 1) * step_ms, step_ms)
        best = min(best, time.perf_counter() - begin)
    return best


def main() -> None:
    """Print a table: milliseconds, and nanoseconds for each series and step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=0, help="0: one a core")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}, threads {options.threads}")
    cases = [
        (2400, 1440, 60_000, "sum by (instance) (rate(m_total[5m]))"),
        (2400, 1440, 60_000, "m_total"),
        (2400, 1440, 60_000, "max_over_time(m_total[5m])"),
        (2400, 1440, 60_000, "avg_over_time(m_total[5m])"),
        (2400, 360, 60_000, "quantile_over_time(0.9, m_total[5m])"),
        (2400, 360, 60_000, "m_total / on (instance, cpu) m_total"),
        (10_000, 360, 60_000, "rate(m_total[5m])"),
        (10_000, 360, 60_000, "sum(rate(m_total[5m]))"),
        (10_000, 1, 60_000, "sum by (cpu) (rate(m_total[5m]))"),
        (100, 360, 60_000, "sum_over_time(m_total[2h])"),
    ]
    readers: dict[tuple[int, int], Batch] = {}
    for series, steps, step_ms, query in cases:
        samples = (600_000 + steps * step_ms) // SCRAPE_MS
        reader = readers.setdefault((series, samples), Batch(series, samples))
        engine = Engine(reader, EngineOptions(threads=options.threads))
        seconds = measure(engine, query, steps, step_ms, options.repeat)
        engine.close()
        points = series * steps
        print(
            f"{series:6d} series x {steps:4d} steps {seconds * 1e3:9.1f} ms "
            f"{seconds / points * 1e9:8.1f} ns/point  {query}"
        )


if __name__ == "__main__":
    main()
