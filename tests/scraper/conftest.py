"""Storage that only remembers, and a scraped server on loopback."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from aiohttp import web

from tsdb.histograms.columns import take
from tsdb.interface import AppendStatus
from tsdb.staleness import is_stale


class FakeAppender:
    """An `Appender` that keeps every sample, by labels, in the order it was given."""

    def __init__(self):
        self.lock = threading.Lock()
        self.refs = {}
        self.labels = []
        self.samples = {}
        self.batches = []
        self.forgotten = set()
        self.histograms = {}
        self.exemplars = []
        self.starts = {}
        """Start timestamps by (ref, time)."""
        self.resolved = 0

    def resolve(self, labels):
        data = labels.data.tobytes()
        out = []
        with self.lock:
            for n in range(labels.series_count):
                rows = labels.spans[labels.first[n] : labels.first[n + 1]].tolist()
                key = tuple((data[a:b].decode(), data[c:d].decode()) for a, b, c, d in rows)
                assert key == tuple(sorted(key))
                if key not in self.refs or self.refs[key] in self.forgotten:
                    self.refs[key] = len(self.labels)
                    self.labels.append(dict(key))
                out.append(self.refs[key])
                self.resolved += 1
        return np.array(out, np.int64)

    def append(self, refs, times_ms, values, *, time_max_ms=None, start_times_ms=None):
        assert refs.size == times_ms.size == values.size
        statuses = np.zeros(refs.size, np.uint8)
        with self.lock:
            self._keep_starts(refs, times_ms, start_times_ms)
            self.batches.append((refs.copy(), times_ms.copy(), values.copy()))
            for n, (ref, time, value) in enumerate(
                zip(refs.tolist(), times_ms.tolist(), values, strict=True)
            ):
                if ref in self.forgotten:
                    statuses[n] = AppendStatus.UNKNOWN_SERIES
                    continue
                if time_max_ms is not None and time > time_max_ms:
                    statuses[n] = AppendStatus.TOO_FAR_AHEAD
                    continue
                of_series = self.samples.setdefault(ref, {})
                if time in of_series:
                    same = np.float64(of_series[time]).tobytes() == np.float64(value).tobytes()
                    statuses[n] = AppendStatus.DUPLICATE if same else AppendStatus.CONFLICT
                else:
                    of_series[time] = value
        return statuses

    def _keep_starts(self, refs, times_ms, start_times_ms):
        if start_times_ms is None:
            return
        assert start_times_ms.size == refs.size
        for row in zip(refs.tolist(), times_ms.tolist(), start_times_ms.tolist(), strict=True):
            if row[2]:
                self.starts[row[:2]] = row[2]

    def append_histograms(
        self, refs, times_ms, histograms, *, time_max_ms=None, start_times_ms=None
    ):
        """Keep each as columns of one, by ref and time."""
        assert refs.size == times_ms.size == histograms.histogram_count
        with self.lock:
            self._keep_starts(refs, times_ms, start_times_ms)
            for n, (ref, time) in enumerate(zip(refs.tolist(), times_ms.tolist(), strict=True)):
                one = take(histograms, np.array([n]))
                self.histograms.setdefault(ref, {})[time] = one
        return np.zeros(refs.size, np.uint8)

    def append_exemplars(self, refs, times_ms, values, labels):
        """Keep (labels of the series, labels, value, time) of each, in the order given."""
        data = labels.data.tobytes()
        with self.lock:
            for n, ref in enumerate(refs.tolist()):
                rows = labels.spans[labels.first[n] : labels.first[n + 1]].tolist()
                own = {data[a:b].decode(): data[c:d].decode() for a, b, c, d in rows}
                row = (self.labels[ref], own, float(values[n]), int(times_ms[n]))
                self.exemplars.append(row)
        return np.zeros(refs.size, np.uint8)

    def series(self):
        """Labels (as a frozenset of pairs) to [(time, value or "stale")], in time order."""
        with self.lock:
            return {
                frozenset(self.labels[ref].items()): [
                    (t, "stale" if is_stale(np.array([v]))[0] else float(v))
                    for t, v in sorted(samples.items())
                ]
                for ref, samples in self.samples.items()
            }

    def of(self, name, **labels):
        """The samples of the one series of this name that has these labels."""
        wanted = {"__name__": name, **labels}.items()
        found = [s for key, s in self.series().items() if wanted <= dict(key).items()]
        assert len(found) <= 1, found
        return found[0] if found else []


@pytest.fixture
def appender():
    return FakeAppender()


@pytest.fixture
def executor():
    with ThreadPoolExecutor(4) as pool:
        yield pool


async def serve(handler):
    """A server on loopback; returns its runner and address."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, f"127.0.0.1:{runner.addresses[0][1]}"
