"""Stores as the rows of the corpus' `expected.json`: labels, counts and digests of all samples."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from tsdb.database import Database
from tsdb.interface import Selection
from tsdb.options import DatabaseOptions

STALE = 0x7FF0000000000002
FOREVER = (-(2**62), 2**62)


def rows_of(directory):
    """Read a directory of ours; return its rows by their labels."""
    options = DatabaseOptions(background=False, retention_ms=None, read_only=True)
    database = Database.open(directory, options)
    try:
        (batch,) = database.select([Selection((), *FOREVER)])
        return {key(row["labels"]): row for row in _rows(batch)}
    finally:
        database.close()


def expected_rows(path):
    return {key(row["labels"]): row for row in json.loads(path.read_text())["rows"]}


def key(labels):
    return json.dumps(labels, sort_keys=True)


def _rows(batch):
    for s in range(batch.series_count):
        row = {"labels": batch.labels.row(s)}
        count = int(batch.count[s])
        if count:
            times = batch.times[batch.time_start[s] :][:count].tolist()
            bits = batch.values[batch.value_start[s] :][:count].view(np.uint64).tolist()
            lines = [f"{t} {b:016x}\n" for t, b in zip(times, bits, strict=True)]
            row |= {
                "samples": count,
                "first_ms": times[0],
                "last_ms": times[-1],
                "sha256": _sha256(lines),
            }
        runs = batch.histograms
        if runs is not None and runs.count[s]:
            places = range(int(runs.start[s]), int(runs.start[s] + runs.count[s]))
            lines = [f"{runs.times[at]} {histogram_line(runs.columns, at)}\n" for at in places]
            row |= {
                "histograms": len(lines),
                "h_first_ms": int(runs.times[places[0]]),
                "h_last_ms": int(runs.times[places[-1]]),
                "h_sha256": _sha256(lines),
            }
        yield row


def _sha256(lines):
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def histogram_line(columns, row):
    if _bits(columns.sum[row]) == STALE:
        return "stale"
    bounds = columns.bounds[columns.bounds_start[row] :][: columns.bounds_count[row]]
    content = {
        "count": _number(columns.count[row]),
        "custom_values": [_hex(bound) for bound in bounds],
        "negative": _buckets(
            columns.negative_start, columns.negative_index, columns.negative_count, row
        ),
        "positive": _buckets(
            columns.positive_start, columns.positive_index, columns.positive_count, row
        ),
        "schema": int(columns.schema[row]),
        "sum": _hex(columns.sum[row]),
        "zero_count": _number(columns.zero_count[row]),
        "zero_threshold": _hex(columns.zero_threshold[row]),
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def _buckets(start, index, count, row):
    pairs = zip(index[start[row] : start[row + 1]], count[start[row] : start[row + 1]], strict=True)
    return [[int(i), _number(c)] for i, c in pairs if c]


def _number(value):
    return int(value) if float(value).is_integer() else float(value)


def _bits(value):
    return int(np.float64(value).view(np.uint64))


def _hex(value):
    return f"{_bits(value):016x}"
