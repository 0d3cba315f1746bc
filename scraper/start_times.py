"""Start timestamps of OpenMetrics text: `_created` lines, told to the series that they speak of.

From: `ingest.py`, for jobs that want start timestamps.   To: the starts of a scrape's samples.

Which series belong together is worked out once, when a series is new; after that a scrape costs
a few column operations. The lines themselves are not stored.
Source: OpenMetrics 1.0; Prometheus' behaviour with `created-timestamp-zero-ingestion`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scraper.tokens import series_labels

if TYPE_CHECKING:
    import numpy.typing as npt

    from scraper.exposition import Exposition

    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]
    Mask = npt.NDArray[np.bool_]
    Key = tuple[str, frozenset[tuple[str, str]]]

_CREATED = "_created"
_PARTS = {
    "counter": (("_total",), None),
    "histogram": (("_bucket", "_count", "_sum", ""), "le"),
    "summary": (("_count", "_sum", ""), "quantile"),
}
"""By type: what the names of a family's samples end in, and the label that is not the family's."""
_NONE = -1
_SECONDS_MAX = 2.0**53


class CreatedLines:
    """Which entries of a target's series cache are `_created` lines, and of which others.

    Shapes: `group` int64[count of entries], one number for all that has one start, -1 for none;
    `created` bool[count of entries].
    """

    def __init__(self) -> None:
        self._groups: dict[Key, int] = {}
        self.group: Ints = np.empty(0, np.int64)
        self.created: Mask = np.empty(0, np.bool_)

    def look_at(self, exposition: Exposition, samples: Ints, types: list[str]) -> tuple[Ints, Mask]:
        """Return group and whether they are `_created` lines of new series, shown by `samples`.

        `types` are those of their families. Raises ParseError.
        """
        group = np.full(samples.size, _NONE, np.int64)
        created = np.zeros(samples.size, np.bool_)
        for number, (sample, kind) in enumerate(zip(samples.tolist(), types, strict=True)):
            if kind not in _PARTS:
                continue
            labels = dict(series_labels(exposition.series_text(sample), openmetrics=True))
            name = labels.pop("__name__")
            endings, bound = _PARTS[kind]
            if name.endswith(_CREATED):
                created[number] = True
                stem = name.removesuffix(_CREATED)
            else:
                ending = next((each for each in endings if name.endswith(each)), None)
                if ending is None:
                    continue
                stem = name.removesuffix(ending)
                if bound is not None:
                    labels.pop(bound, None)
            key = (stem, frozenset(labels.items()))
            group[number] = self._groups.setdefault(key, len(self._groups))
        return group, created

    def add(self, group: Ints, created: Mask) -> None:
        """Take over what `look_at` found, for entries that were added to the cache."""
        self.group = np.concatenate((self.group, group))
        self.created = np.concatenate((self.created, created))

    def keep(self, order: Ints) -> None:
        """Follow `SeriesCache.keep`; forget groups that no entry is of."""
        self.group, self.created = self.group[order], self.created[order]
        used, renumbered = np.unique(self.group[self.group >= 0], return_inverse=True)
        if used.size < len(self._groups):
            new = dict(zip(used.tolist(), range(used.size), strict=True))
            self._groups = {key: new[old] for key, old in self._groups.items() if old in new}
            self.group[self.group >= 0] = renumbered

    def starts(self, entries: Ints, values: Floats) -> Ints | None:
        """Return the start of each sample in milliseconds, 0 for none; None if there are none."""
        lines = np.flatnonzero(self.created[entries])
        if not lines.size:
            return None
        seconds = values[lines]
        seconds = np.where(np.abs(seconds) < _SECONDS_MAX / 1000, seconds, 0.0)
        # One place more, for what is of no group: index -1.
        of_group = np.zeros(len(self._groups) + 1, np.int64)
        of_group[self.group[entries[lines]]] = (seconds * 1000).astype(np.int64)
        of_group[_NONE] = 0
        starts: Ints = of_group[self.group[entries]]
        return starts
