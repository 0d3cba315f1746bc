"""Measure how fast one scrape is read: bytes to columns, every series found in the cache.

Real bodies: scrapes of node_exporter in a row, and what the components of a Kubernetes cluster
expose. Beside it stands the plain-Python reader, entry by entry, that is our own oracle.

    python benchmarks/scrape_parse.py [seconds per measurement]
"""

from __future__ import annotations

import os
import struct
import sys
import time
import zlib
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scraper.exposition import parse, read_entry  # noqa: E402 - found by the line above
from scraper.metadata import TargetMetadata  # noqa: E402
from scraper.series_cache import SeriesCache  # noqa: E402
from scraper.tokens import EntryKind  # noqa: E402

CORPUS = Path(os.environ.get("GNOMON_CORPORA", ROOT.parent / "shared" / "corpora")) / "exposition"


def captured_scrapes(count: int) -> list[bytes]:
    """The first scrapes of the node_exporter capture."""
    data = (CORPUS / "node_exporter-scrapes.cap").read_bytes()
    bodies, at = [], 0
    while at < len(data) and len(bodies) < count:
        _, size = struct.unpack_from("<QI", data, at)
        bodies.append(zlib.decompress(data[at + 12 : at + 12 + size]))
        at += 12 + size
    return bodies


def scrape(body: bytes, cache: SeriesCache, metadata: TargetMetadata) -> int:
    """Read one body as `ingest.py` does, learning what is new; return the number of samples."""
    cache.begin()
    found = parse(body, cache=cache, metadata=metadata)
    new: dict[bytes, int] = {}
    for sample in np.flatnonzero(found.entries < 0).tolist():
        new.setdefault(found.series_text(sample), sample)
    if new:
        first = list(new.values())
        lengths = np.array([len(text) for text in new], np.int32)
        refs = np.arange(len(new), dtype=np.int64)
        cache.add(found.low[first], found.high[first], lengths, refs)
    if not metadata.knows(found.comment_hash):
        metadata.update(found.comments(), found.comment_hash, openmetrics=False)
    return found.sample_count


def read_plainly(body: bytes) -> int:
    """Read one body entry by entry in Python."""
    body += b"\n"
    at = samples = 0
    while True:
        entry = read_entry(body, at, openmetrics=False)
        if entry.kind is EntryKind.END:
            return samples
        samples += entry.kind is EntryKind.SERIES
        at = entry.next


def report(name: str, how: str, bodies: list[bytes], run, budget_s: float) -> None:
    """Run over the bodies until the time is up; print the speed."""
    for body in bodies:
        run(body)
    samples = size = 0
    began = time.perf_counter()
    while (took := time.perf_counter() - began) < budget_s or not samples:
        for body in bodies:
            samples += run(body)
            size += len(body)
    print(f"{name:30} {how:18} {size / took / 1e6:8.1f} MB/s {took / samples * 1e9:8.0f} ns/sample")


def main() -> None:
    """Measure every corpus."""
    budget_s = float(sys.argv[1]) if len(sys.argv) > 1 else 0.5
    corpora = {"node_exporter, 20 scrapes": captured_scrapes(20)}
    for path in sorted((CORPUS / "kubernetes").glob("*.txt")):
        corpora[path.stem] = [path.read_bytes()]
    for name, bodies in corpora.items():
        cache, metadata = SeriesCache(), TargetMetadata()
        run = lambda body, c=cache, m=metadata: scrape(body, c, m)  # noqa: E731
        report(name, "kernel, known", bodies, run, budget_s)
        bare = lambda body: parse(body).sample_count  # noqa: E731
        report(name, "kernel, no cache", bodies, bare, budget_s)
        report(name, "plain Python", bodies[:1], read_plainly, budget_s)
        print(f"{name:30} cache: {cache.memory_bytes / cache.count:.0f} bytes a series")


if __name__ == "__main__":
    main()
