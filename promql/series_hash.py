"""A hash of each series' labels that does not depend on the process: Prometheus' own.

From: `ranking.py`, for `limit_ratio`, whose choice must be the same at every step and in every
query. Prometheus hashes its in-memory form of labels with XXH64: each name and value with its
length before it, in one byte, or 255 and three bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from promql.hash_kernels import hash_label_sets

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from promql.labels import SeriesLabels


def hash_series(labels: SeriesLabels) -> npt.NDArray[np.uint64]:
    """Return the hash of each series, uint64[S]; Python runs once per distinct text."""
    distinct, text_of = np.unique(
        np.concatenate((np.zeros(1, dtype=np.uint32), labels.ids.ravel())), return_inverse=True
    )
    names, name_start = _encoded(labels.names)
    texts, text_start = _encoded(labels.symbols.texts(distinct))
    out = np.empty(labels.series_count, dtype=np.uint64)
    rows = np.ascontiguousarray(text_of[1:].reshape(labels.ids.shape), dtype=np.int64)
    hash_label_sets(names, name_start, texts, text_start, rows, out)
    return out


def _encoded(texts: Sequence[str]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    chunks = []
    for text in texts:
        raw = text.encode("utf-8", "surrogateescape")
        size = len(raw)
        head = bytes([size]) if size < 255 else b"\xff" + size.to_bytes(3, "little")
        chunks.append(head + raw)
    start = np.zeros(len(chunks) + 1, dtype=np.int64)
    np.cumsum([len(chunk) for chunk in chunks], out=start[1:])
    return np.frombuffer(b"".join(chunks), dtype=np.uint8), start
