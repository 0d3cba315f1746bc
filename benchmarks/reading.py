"""How fast the engine alone reads: samples into columns, and matchers to series.

    python -m benchmarks.reading [--series 2400] [--samples 6000] [--million 1000000]

Samples: as many series of one metric for each kind of value, scraped every 15 s, read from the
head and from blocks (cut and compacted as in service), on one thread and on all. What is printed
is the best of `--repeat` reads, brought to 14.4 M samples. Selectors: a metric of a million series
and a thousand other metrics; each is asked the first time (nothing is remembered of it) and again.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tsdb.database import Database
from tsdb.interface import LabelSpans, Matcher, MatchOp, Selection
from tsdb.options import DatabaseOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

SCRAPE_MS = 15_000
BEGIN_MS = 1_700_000_000_000
READ_SAMPLES = 14.4e6
BATCH_ROWS = 100
KINDS = ("integers", "decimals", "noisy", "counters")
OPTIONS = DatabaseOptions(
    retention_ms=None, background=False, clock_ms=lambda: BEGIN_MS + 365 * 86_400_000
)


def values_of(kind: str, series: int, samples: int) -> Floats:
    """Return the values [samples, series] of one kind."""
    rng = np.random.default_rng(1)
    shape = samples, series
    if kind == "integers":
        return rng.integers(0, 1000, shape).astype(np.float64)
    if kind == "decimals":
        return np.round(50 + rng.normal(0, 0.3, shape).cumsum(axis=0), 2)
    if kind == "noisy":
        return rng.normal(0, 1.0, shape)
    return rng.integers(0, 100, shape).cumsum(axis=0).astype(np.float64)


def fill(database: Database, kind: str, series: int, samples: int) -> None:
    """Append all samples of all series, as scrapes bring them."""
    labels = (
        {"__name__": "read_total", "instance": f"host-{n // 24}:9100", "cpu": f"{n % 24}"}
        for n in range(series)
    )
    refs = database.resolve(LabelSpans.from_labels(labels))
    values = values_of(kind, series, samples)
    for first in range(0, samples, BATCH_ROWS):
        some = values[first : first + BATCH_ROWS]
        times = BEGIN_MS + SCRAPE_MS * np.arange(first, first + len(some))
        rows = np.tile(refs, len(some))
        database.append(rows, np.repeat(times, series), some.reshape(-1))


def best_s(work: Callable[[], object], repeat: int) -> float:
    """Return the shortest of some runs."""
    best = float("inf")
    for _ in range(repeat):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best


def reads(kind: str, series: int, samples: int, repeat: int, folder: Path) -> Iterator[str]:
    """Yield what reading everything takes from head and blocks, on one thread and on all."""
    cores = os.sched_getaffinity(0)
    whole = Selection(
        (Matcher("__name__", MatchOp.EQUAL, "read_total"),),
        BEGIN_MS,
        BEGIN_MS + SCRAPE_MS * samples,
    )
    for source in ("head", "blocks"):
        for threads in sorted({1, len(cores)}):
            # What a database may use is decided when it is opened.
            os.sched_setaffinity(0, sorted(cores)[:threads])
            database = Database.open(folder / kind, OPTIONS)
            try:
                if threads == 1 and source == "head":
                    fill(database, kind, series, samples)
                elif threads == 1:
                    database.flush()
                assert database.select([whole])[0].sample_count == series * samples

                def read(store: Database = database) -> None:
                    store.select([whole])

                took_s = best_s(read, repeat) * READ_SAMPLES / (series * samples)
            finally:
                database.close()
                os.sched_setaffinity(0, cores)
            yield f"{kind:9} {source:6} {threads} threads {took_s * 1e3:8.1f} ms for 14.4 M"


QUESTIONS: dict[str, tuple[tuple[str, MatchOp, str], ...]] = {
    "100 of 1 M, equality": (("pod", MatchOp.EQUAL, "pod-77"),),
    "100 of 1 M, two equalities": (
        ("pod", MatchOp.EQUAL, "pod-77"),
        ("job", MatchOp.EQUAL, "bench"),
    ),
    "200 of 1 M, a|b": (("pod", MatchOp.MATCHES, "pod-77|pod-78"),),
    "11 100 of 1 M, prefix": (("pod", MatchOp.MATCHES, "pod-77.*"),),
    "equality and negative": (
        ("pod", MatchOp.EQUAL, "pod-77"),
        ("code", MatchOp.NOT_EQUAL, "200"),
    ),
    "negative pattern, equality": (
        ("code", MatchOp.NOT_MATCHES, "5.."),
        ("pod", MatchOp.EQUAL, "pod-77"),
    ),
    "three labels": (
        ("zone", MatchOp.EQUAL, "z1"),
        ("code", MatchOp.EQUAL, "201"),
        ("pod", MatchOp.EQUAL, "pod-77"),
    ),
}


def selectors(million: int, repeat: int, folder: Path) -> Iterator[str]:
    """Yield what finding and reading series takes among very many, one sample of each."""
    database = Database.open(folder / "million", OPTIONS)
    try:
        for first in range(0, million, 50_000):
            labels = [
                {
                    "__name__": "many",
                    "job": "bench",
                    "instance": f"host-{n // 500}:9100",
                    "pod": f"pod-{n // 100}",
                    "zone": f"z{n % 3}",
                    "code": f"{200 + n % 5}",
                    "path": f"/p{n % 100}",
                }
                for n in range(first, min(first + 50_000, million))
            ]
            refs = database.resolve(LabelSpans.from_labels(labels))
            database.append(refs, np.full(refs.size, BEGIN_MS), np.arange(refs.size * 1.0))
        few = [
            {"__name__": f"metric_{n // 100}", "instance": f"host-{n % 100}"}
            for n in range(100_000)
        ]
        refs = database.resolve(LabelSpans.from_labels(few))
        database.append(refs, np.full(refs.size, BEGIN_MS), np.arange(refs.size * 1.0))

        def ask(*conditions: tuple[str, MatchOp, str]) -> int:
            matchers = tuple(Matcher(*each) for each in conditions)
            selection = Selection(matchers, BEGIN_MS - 300_000, BEGIN_MS)
            return database.select([selection])[0].series_count

        many, one = ("__name__", MatchOp.EQUAL, "many"), ("__name__", MatchOp.EQUAL, "metric_7")
        ask(one)  # the code is loaded
        asked = {f"many: {name}": (many, *each) for name, each in QUESTIONS.items()}
        asked["one metric of a thousand"] = (("__name__", MatchOp.EQUAL, "metric_8"),)
        for name, conditions in asked.items():
            began = time.perf_counter()
            found = ask(*conditions)
            first_s = time.perf_counter() - began
            other = [
                (label, op, text.replace("77", "4321").replace("78", "4322").replace("_8", "_9"))
                for label, op, text in conditions
            ]
            began = time.perf_counter()
            ask(*other)
            other_s = time.perf_counter() - began

            def again(matchers: tuple[tuple[str, MatchOp, str], ...] = conditions) -> None:
                ask(*matchers)

            again_s = best_s(again, repeat)
            yield (
                f"{name:40} {found:6} series {first_s * 1e3:8.2f} ms first, "
                f"{other_s * 1e3:8.2f} with other values, {again_s * 1e3:8.3f} again"
            )
    finally:
        database.close()


def main() -> None:
    """Print all that was measured."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--series", type=int, default=2400)
    parser.add_argument("--samples", type=int, default=6000)
    parser.add_argument("--million", type=int, default=1_000_000, help="0: no selectors")
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--directory", help="where to put the data")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.directory) as folder:
        for kind in KINDS:
            for line in reads(kind, args.series, args.samples, args.repeat, Path(folder)):
                print(line, flush=True)
        if args.million:
            for line in selectors(args.million, args.repeat, Path(folder)):
                print(line, flush=True)


if __name__ == "__main__":
    main()
