"""All of storage that other packages may call.

Reading (`reading.py`): `SeriesReader.select` takes every selection of a query at once and answers
with one `SeriesBatch` each, all of one snapshot and one symbol space.
Writing (`writing.py`): `Appender.resolve` turns label bytes into refs, `Appender.append` stores a
batch of samples and returns one `AppendStatus` for each.
What both exchange is in `labels.py`, `histograms.py`, `exemplars.py` and `metadata.py`; everybody
imports from here.

No string is hashed and no label dict is built on either path: labels travel as columns of ids
(reading) or as spans into one byte buffer (writing).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tsdb.interface.exemplars import (
    EXEMPLAR_LABEL_CHARS_MAX,
    ExemplarColumns,
    ExemplarStatus,
    ExemplarStorage,
)
from tsdb.interface.histograms import (
    CUSTOM_BUCKETS_SCHEMA,
    HistogramColumns,
    HistogramRuns,
    ResetHint,
)
from tsdb.interface.labels import (
    ABSENT,
    METRIC_NAME,
    LabelColumns,
    LabelSpans,
    SymbolSource,
)
from tsdb.interface.metadata import (
    MetadataStorage,
    MetricMetadata,
)
from tsdb.interface.reading import (
    ALL_TIMES_MS,
    ChangeSource,
    DeferredValues,
    Matcher,
    MatchOp,
    SelectHints,
    Selection,
    SeriesBatch,
    SeriesReader,
    StartTimes,
)
from tsdb.interface.writing import (
    Appender,
    AppendStatus,
    HistogramAppender,
)

if TYPE_CHECKING:
    from tsdb.interface.arrays import Bytes as Bytes
    from tsdb.interface.arrays import Floats as Floats
    from tsdb.interface.arrays import Ids as Ids
    from tsdb.interface.arrays import Ints as Ints

__all__ = [
    "ABSENT",
    "ALL_TIMES_MS",
    "CUSTOM_BUCKETS_SCHEMA",
    "EXEMPLAR_LABEL_CHARS_MAX",
    "METRIC_NAME",
    "AppendStatus",
    "Appender",
    "ChangeSource",
    "DeferredValues",
    "ExemplarColumns",
    "ExemplarStatus",
    "ExemplarStorage",
    "HistogramAppender",
    "HistogramColumns",
    "HistogramRuns",
    "LabelColumns",
    "LabelSpans",
    "MatchOp",
    "Matcher",
    "MetadataStorage",
    "MetricMetadata",
    "ResetHint",
    "SelectHints",
    "Selection",
    "SeriesBatch",
    "SeriesReader",
    "StartTimes",
    "Storage",
    "SymbolSource",
]


class Storage(
    SeriesReader,
    Appender,
    HistogramAppender,
    ExemplarStorage,
    MetadataStorage,
    ChangeSource,
    Protocol,
):
    """Both sides, as an opened database offers them."""
