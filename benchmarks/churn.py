"""Does memory follow the series that are active, or all that ever were? A day of pods, in minutes.

    python -m benchmarks.churn [--active 500000] [--series 10000000] [--interval 300] [--hours 24]
    python -m benchmarks.churn --peer [--active 50000] [--series 1000000] [--minutes 13]

Pods of `--pod-series` series with ten labels each come and go evenly: at any time `--active` series
exist, and `--series` are made over the day; a pod has three label values that no other ever had
(`--pod-series 1`: every series has). Alone, the engine is driven as fast as it goes, maintenance
and some questions of a label browser after every step; a row is printed after each cut of the head.
With `--peer` Gnomon and Prometheus are sent the same day by remote write, slowly enough that their
maintenance (once a minute) keeps up: a row is printed for every two hours.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import peers
from benchmarks.remote_write_client import encode_labels, field, send, varint
from tsdb import head_collection
from tsdb.database import Database, DatabaseOptions
from tsdb.interface import LabelSpans, Matcher, MatchOp, MetricMetadata

HOUR_MS = 3_600_000
BATCH = 10_000
FIXED = {
    "__name__": "container_metric_NNN_total",
    "container": "main",
    "id": "/kubepods/burstable/pod0000PPPPPPPP-9d1c-4f31-b5a4-77d0c4e1aa2f",
    "image": "registry.example/team/app:1.27.3",
    "instance": "10.2.0.17:10250",
    "job": "kubelet",
    "namespace": "shop",
    "node": "node-17",
    "pod": "app-6c9d7PPPPPPPP",
    "uid": "PPPPPPPP-0000-4f31-b5a4-77d0c4e1aa2f",
}
"""NNN is the number of a series in its pod, PPPPPPPP that of the pod."""


@dataclass(frozen=True, slots=True)
class Template:
    """Labels of one series as bytes, and where numbers go in them."""

    text: np.ndarray
    spans: np.ndarray
    numbers: list[int]
    pods: list[int]

    @staticmethod
    def of(labels: dict[str, str]) -> Template:
        """Lay the labels out one after the other."""
        text, spans = b"", []
        for name, value in labels.items():
            begin, middle = len(text), len(text) + len(name)
            text += (name + value).encode()
            spans.append((begin, middle, middle, len(text)))
        places = [[at for at in range(len(text)) if text.startswith(mark, at)]
                  for mark in (b"NNN", b"PPPPPPPP")]  # fmt: skip
        return Template(np.frombuffer(text, np.uint8), np.array(spans), *places)

    def fill(self, pods: np.ndarray, numbers: np.ndarray) -> LabelSpans:
        """Return the labels of the series with these numbers of these pods."""
        rows = np.tile(self.text, (pods.size, 1))
        for column, places, digits in ((numbers, self.numbers, 3), (pods, self.pods, 8)):
            for digit in range(digits):
                figure = column // 10 ** (digits - 1 - digit) % 10 + ord("0")
                for place in places:
                    rows[:, place + digit] = figure
        shift = np.arange(pods.size)[:, None, None] * self.text.size
        spans = (self.spans[None] + shift).reshape(-1, 4).astype(np.int32)
        first = np.arange(pods.size + 1, dtype=np.int64) * len(self.spans)
        return LabelSpans(rows.reshape(-1), spans, first)


@dataclass
class Fleet:
    """Which pods exist; the oldest go first. Each has `size` series."""

    size: int
    first: int
    stop: int

    def roll(self, total: float) -> int:
        """Have as many pods made in all as `total` says; return how many are new."""
        new = int(total) - self.stop
        self.first, self.stop = self.first + new, self.stop + new
        return new


def rss_mb(field_name: str = "VmRSS") -> float:
    """Memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field_name + ":"):
            return int(line.split()[1]) / 1024
    raise LookupError(field_name)


def ask(database: Database, now_ms: int) -> None:
    """What a dashboard and a label browser ask."""
    job = Matcher("job", MatchOp.EQUAL, "kubelet")
    database.label_names([], now_ms - HOUR_MS, now_ms)
    database.label_values("pod", [], now_ms - HOUR_MS, now_ms)
    database.label_values("uid", [[job]], now_ms - HOUR_MS, now_ms)
    name = Matcher("__name__", MatchOp.EQUAL, "container_metric_000_total")
    database.series([[name, job]], now_ms - HOUR_MS, now_ms)


def row(database: Database, hour: float, took_s: float) -> list[str]:
    """What is held now."""
    stats, head = database.stats(), database._head
    return [
        f"{hour:.1f}",
        f"{rss_mb():.0f}",
        f"{rss_mb('RssAnon'):.0f}",
        f"{stats.series_created / 1e6:.2f}",
        f"{stats.series / 1e3:.0f}",
        f"{head.slot_count / 1e3:.0f}",
        f"{stats.symbol_count / 1e3:.0f}",
        f"{stats.symbol_bytes / 2**20:.0f}",
        f"{head.rows.size_bytes / 2**20:.0f}",
        f"{head.index.size_bytes / 2**20:.0f}",
        f"{stats.head_memory_bytes / 2**20:.0f}",
        f"{stats.wal.size_bytes / 2**20:.0f}",
        f"{stats.blocks}",
        f"{stats.cut_duration_s:.1f}",
        f"{took_s:.0f}",
    ]


HEADER = ["hour", "RSS MB", "anon", "made M", "series k", "slots k", "symbols k", "symbols MB",
          "tables MB", "index MB", "samples MB", "log MB", "blocks", "cut s",
          "total s"]  # fmt: skip


def engine(args: argparse.Namespace, directory: Path) -> None:
    """Drive the engine through the day."""
    options = DatabaseOptions(retention_ms=15 * 24 * HOUR_MS, background=False)
    # As time goes faster here, slots rest for one step instead of ten minutes.
    head_collection.REST_S = 0.0
    database = Database.open(directory, options)
    template, size = Template.of(FIXED), args.pod_series
    fleet = Fleet(size, 0, args.active // size)
    begin_ms = int(time.time() * 1000) // (2 * HOUR_MS) * 2 * HOUR_MS - 26 * HOUR_MS
    step_ms = args.interval * 1000
    steps = args.hours * HOUR_MS // step_ms
    rate = (args.series - args.active) / size / (24 * HOUR_MS / step_ms)
    refs = np.empty(0, np.int64)
    began, cuts, made_s, append_s = time.perf_counter(), 0, 0.0, 0.0
    print("  ".join(HEADER), flush=True)
    for step in range(steps):
        now_ms = begin_ms + step * step_ms
        new = fleet.roll(args.active // size + step * rate) if step else fleet.stop
        fresh = np.repeat(np.arange(fleet.stop - new, fleet.stop), size)
        numbers = np.tile(np.arange(size), new) % 1000
        made = [np.empty(0, np.int64)]
        for at in range(0, fresh.size, BATCH):
            labels = template.fill(fresh[at : at + BATCH], numbers[at : at + BATCH])
            begin = time.perf_counter()
            made.append(database.resolve(labels))
            made_s += time.perf_counter() - begin
        refs = np.concatenate([refs[new * size if step else 0 :], *made])
        times = np.full(BATCH, now_ms)
        begin = time.perf_counter()
        for at in range(0, refs.size, BATCH):
            part = refs[at : at + BATCH]
            values = (part & 0xFFFF) + 17.0 * step
            starts = np.full(part.size, begin_ms) if args.start_times else None
            database.append(part, times[: part.size], values, start_times_ms=starts)
        append_s += time.perf_counter() - begin
        if args.metadata:
            entry = MetricMetadata(f"family_{step}_total", "counter", "", "what it is " * 10)
            database.append_metadata([entry])
        ask(database, now_ms)
        database.maintain()
        if (stats := database.stats()).cuts > cuts or step == steps - 1:
            cuts = stats.cuts
            hour = (now_ms - begin_ms) / HOUR_MS
            cells = row(database, hour, time.perf_counter() - began)
            print("  ".join(c.rjust(len(h)) for c, h in zip(cells, HEADER, strict=True)),
                  flush=True)  # fmt: skip
    stats = database.stats()
    print(
        f"making {stats.series_created / 1e6:.2f} M series took {made_s:.1f} s, appending "
        f"{sum(stats.appended) / 1e6:.0f} M samples {append_s:.1f} s, cuts "
        f"{stats.cut_duration_s:.1f} s, compactions {stats.compaction_duration_s:.1f} s; most "
        f"memory {rss_mb('VmHWM'):.0f} MB"
    )
    database.close()


class Sender(threading.Thread):
    """Sends a day to one server, in step with the others."""

    def __init__(self, server: peers.Server, args: argparse.Namespace, begin_ms: int) -> None:
        super().__init__()
        self.server, self.args, self.begin_ms = server, args, begin_ms
        self.rows: list[list[str]] = []

    def run(self) -> None:
        """Send every step at its time."""
        args, size = self.args, self.args.pod_series
        step_ms = args.interval * 1000
        steps = args.hours * HOUR_MS // step_ms
        rate = (args.series - args.active) / size / (24 * HOUR_MS / step_ms)
        fleet = Fleet(size, 0, args.active // size)
        begin = time.monotonic()
        known: dict[int, list[bytes]] = {}
        for step in range(steps):
            if step:
                fleet.roll(args.active // size + step * rate)
            now_ms = self.begin_ms + step * step_ms
            for pod in [each for each in known if each < fleet.first]:
                del known[pod]
            messages: list[bytes] = []
            sample = b"\x09" + np.float64(step).tobytes() + b"\x10" + varint(now_ms)
            for pod in range(fleet.first, fleet.stop):
                if pod not in known:
                    known[pod] = [
                        encode_labels({
                            name: value.replace("NNN", f"{n:03d}").replace("PPPPPPPP", f"{pod:08d}")
                            for name, value in FIXED.items()
                        })
                        for n in range(size)
                    ]  # fmt: skip
                messages += [labels + field(2, sample) for labels in known[pod]]
                if len(messages) >= BATCH:
                    send(self.server.url, messages)
                    messages = []
            if messages:
                send(self.server.url, messages)
            if (step + 1) * step_ms % (2 * HOUR_MS) < step_ms:
                self.note((step + 1) * step_ms / HOUR_MS)
            wait = begin + (step + 1) * args.minutes * 60 / steps - time.monotonic()
            if wait > 0:
                time.sleep(wait)

    def note(self, hour: float) -> None:
        """Make a row of what the server takes and says now."""
        status = self.server.query("/api/v1/status/tsdb")["data"]["headStats"]
        self.rows.append([
            f"{hour:.0f}",
            self.server.name,
            f"{self.server.memory_bytes() / 2**20:.0f}",
            f"{self.server.memory_bytes('VmHWM') / 2**20:.0f}",
            f"{self.server.memory_bytes('RssAnon') / 2**20:.0f}",
            str(status["numSeries"]),
            f"{self.server.cpu_s():.0f}",
            f"{self.server.disk_bytes() / 2**20:.0f}",
        ])  # fmt: skip
        print("  ".join(self.rows[-1]), flush=True)


def peer(args: argparse.Namespace) -> None:
    """Send the day to both servers at once."""
    begin_ms = int(time.time() * 1000) // (2 * HOUR_MS) * 2 * HOUR_MS - 26 * HOUR_MS
    with peers.workdir() as root:
        started = [peers.start(name, root) for name in args.systems.split(",")]
        servers = [server for server in started if server is not None]
        try:
            senders = [Sender(server, args, begin_ms) for server in servers]
            for sender in senders:
                sender.start()
            for sender in senders:
                sender.join()
            rows = sorted((each for sender in senders for each in sender.rows), key=lambda r: r[1])
            header = ["hour", "system", "RSS MB", "most MB", "anon MB", "head series", "CPU s",
                      "disk MB"]  # fmt: skip
            peers.table(header, rows)
        finally:
            for server in servers:
                server.stop()


def main() -> None:
    """Measure the engine alone, or Gnomon and Prometheus beside each other."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--active", type=int)
    parser.add_argument("--series", type=int)
    parser.add_argument("--pod-series", type=int, default=50)
    parser.add_argument("--interval", type=int, default=300, help="seconds between samples")
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--start-times", action="store_true", help="send start timestamps too")
    parser.add_argument("--metadata", action="store_true", help="describe a new metric every step")
    parser.add_argument("--directory", help="where to put the data")
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--minutes", type=float, default=13, help="how long the day takes a peer")
    parser.add_argument("--systems", default="gnomon,prometheus")
    args = parser.parse_args()
    args.active = args.active or (50_000 if args.peer else 500_000)
    args.series = args.series or 20 * args.active
    if args.peer:
        peer(args)
        return
    with tempfile.TemporaryDirectory(dir=args.directory) as folder:
        engine(args, Path(folder))


if __name__ == "__main__":
    main()
