"""Label columns of a remote read answer: external labels added, sorted, as encoded fields.

From: `remote_read.py`.   To: its kernels and those of `remote_read_chunks.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from api.label_texts import joined, numbered
from api.wire import varint_bytes
from promql.labels import QuerySymbols, SeriesLabels

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from tsdb.interface import Bytes, Ints, SeriesBatch


@dataclass(frozen=True, slots=True)
class ReadLabels:
    """The labels of S series as protobuf; `order` int64[S] sorts the batch's series by them.

    Shapes: `texts_of` int32[L, S], in that order, index into `text_at` or -1; `name_at`, `text_at`
    where the encoded fields of `names` and `texts` start.
    """

    order: Ints
    texts_of: npt.NDArray[np.int32]
    names: Bytes
    name_at: Ints
    texts: Bytes
    text_at: Ints


def read_labels(batch: SeriesBatch, external_labels: Mapping[str, str]) -> ReadLabels:
    """Return the labels of a batch with the external ones where a series has none of the name."""
    labels = SeriesLabels.from_columns(batch.labels, QuerySymbols(batch.labels.symbols))
    for name, value in external_labels.items():
        column = labels.column(name)
        added = np.uint32(labels.symbols.intern(value))
        labels = labels.with_column(name, np.where(column == 0, added, column))
    order = labels.sort_order()
    labels = labels.take(order)
    texts_of, distinct = numbered(labels.ids)
    names, name_at = joined([_field(b"\x0a", name) for name in labels.names])
    texts, text_at = joined([_field(b"\x12", value) for value in labels.symbols.texts(distinct)])
    return ReadLabels(order, texts_of, names, name_at, texts, text_at)


def _field(tag: bytes, value: str) -> bytes:
    encoded = value.encode()
    return tag + varint_bytes(len(encoded)) + encoded
