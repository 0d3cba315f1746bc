"""Streamed remote read: a batch's samples as chunks in frames of `ChunkedReadResponse`.

From: `remote_read.py`, for clients that take STREAMED_XOR_CHUNKS.   To: `chunk_kernels.py`.

A frame holds chunks of one series, as `sample_chunks.py` makes them.
Source: Prometheus documentation of streamed remote read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from api.chunk_kernels import write_frames
from api.float_kernels import SLACK_BYTES
from api.sample_chunks import chunks_of

if TYPE_CHECKING:
    from api.read_labels import ReadLabels
    from tsdb.interface import SeriesBatch

FRAME_BYTES_MAX = 1 << 20
"""Prometheus' default of --storage.remote.read-max-bytes-in-frame."""


def frames(
    batch: SeriesBatch, labels: ReadLabels, query: int, bytes_max: int = FRAME_BYTES_MAX
) -> memoryview:
    """Return the frames of one query's answer, series in the order of `labels`."""
    rank = np.empty_like(labels.order)
    rank[labels.order] = np.arange(labels.order.size)
    chunks = chunks_of(batch)
    ranks = rank[chunks.series]
    order = np.lexsort((chunks.first_ms, ranks))
    series_first = np.searchsorted(ranks[order], np.arange(rank.size + 1))
    arguments = (
        labels.texts_of, labels.names, labels.name_at, labels.texts, labels.text_at, series_first,
        chunks.data, chunks.start[order], chunks.stop[order], query, bytes_max,
    )  # fmt: skip
    size = write_frames(*arguments, np.empty(0, dtype=np.uint8))
    out = np.empty(size + SLACK_BYTES, dtype=np.uint8)
    if size:
        write_frames(*arguments, out)
    return out[:size].data
