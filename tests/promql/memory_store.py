"""The memory reader with a writing side: what scripts run on until storage can do it."""

import numpy as np

from tests.promql.memory_reader import MemoryReader


class MemoryStore(MemoryReader):
    def __init__(self):
        super().__init__()
        self._label_sets = []

    def resolve(self, labels):
        data = labels.data.tobytes()
        refs = []
        for series in range(labels.series_count):
            spans = labels.spans[labels.first[series] : labels.first[series + 1]].tolist()
            refs.append(len(self._label_sets))
            texts = [(data[a:b].decode(), data[c:d].decode()) for a, b, c, d in spans]
            self._label_sets.append(dict(texts))
        return np.array(refs, dtype=np.int64)

    def append(self, refs, times_ms, values, *, time_max_ms=None):
        for ref, time_ms, value in zip(refs.tolist(), times_ms.tolist(), values, strict=True):
            self.add(self._label_sets[ref], [time_ms], [value])
        return np.zeros(refs.size, dtype=np.uint8)

    def close(self):
        pass
