"""A store as a Parquet or Arrow file: a row for each sample, a column for each label.

From: `stored_batches.py`. To: pandas, DuckDB, Spark and whatever else reads these files.
Needs pyarrow: the extra `gnomon[parquet]`. Floats only; native histograms are counted and left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gnomon.tsdb_tools.sample_starts import starts_of
from tsdb.histograms.columns import ragged
from tsdb.interface import ABSENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from gnomon.tsdb_tools.dump import DumpCounts
    from tsdb.interface import SeriesBatch

TIME, VALUE, START = "timestamp", "value", "start_timestamp"
_GROUP_SAMPLES = 1 << 20


class MissingLibraryError(Exception):
    """pyarrow is not installed; the message says how to get it."""


def column_name(label: str) -> str:
    """Return the column of a label; those of every file keep their names.

    >>> column_name("job"), column_name("value")
    ('job', 'label_value')
    """
    return f"label_{label}" if label in (TIME, VALUE, START) else label


def write_columns(
    batches: Iterable[SeriesBatch],
    label_names: Sequence[str],
    path: Path,
    counts: DumpCounts,
    *,
    arrow: bool = False,
) -> None:
    """Write all samples to a Parquet file, or an Arrow IPC file, at `path`.

    Labels are dictionary columns, null where a series has none; times are UTC milliseconds, and so
    is since when a sample counts, null where that is not known. Raises `MissingLibraryError`,
    OSError.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingLibraryError(
            "this format needs pyarrow: pip install 'gnomon[parquet]'"
        ) from error
    text = pa.dictionary(pa.int32(), pa.string())
    fields = [(column_name(name), text) for name in label_names]
    time = pa.timestamp("ms", tz="UTC")
    schema = pa.schema([*fields, (TIME, time), (VALUE, pa.float64()), (START, time)])
    sink: Any
    if arrow:
        # Dictionaries of a stream may differ from one batch to the next; of a file they may not.
        sink = pa.ipc.new_stream(str(path), schema)
    else:
        sink = pq.ParquetWriter(str(path), schema, compression="zstd")
    with sink as writer:
        for batch in batches:
            counts.series += batch.series_count
            if batch.histograms is not None:
                counts.histograms += int(batch.histograms.count.sum())
            for part in _parts(batch):
                table = _table(pa, schema, batch, part, label_names)
                counts.samples += table.num_rows
                if arrow:
                    writer.write_batch(table)
                else:
                    writer.write_batch(table, row_group_size=_GROUP_SAMPLES)


def _parts(batch: SeriesBatch) -> Iterable[slice]:
    """Cut the series of a batch so that rows of labels stay a bounded number."""
    ends = np.cumsum(batch.count)
    first = 0
    while first < ends.size:
        before = int(ends[first - 1]) if first else 0
        stop = max(first + 1, int(np.searchsorted(ends, before + _GROUP_SAMPLES, side="right")))
        if ends[stop - 1] > before:
            yield slice(first, stop)
        first = stop


def _table(
    pa: Any,  # noqa: ANN401  # a module without types
    schema: Any,  # noqa: ANN401  # of that module
    batch: SeriesBatch,
    part: slice,
    label_names: Sequence[str],
) -> Any:  # noqa: ANN401  # of that module
    labels, count = batch.labels, batch.count[part]
    series = np.repeat(np.arange(part.start, part.start + count.size), count)
    columns = []
    for name in label_names:
        if name not in labels.names:
            columns.append(
                pa.DictionaryArray.from_arrays(
                    pa.nulls(series.size, pa.int32()), pa.array([], pa.string())
                )
            )
            continue
        ids = labels.ids[labels.names.index(name), series]
        symbols, code = np.unique(ids, return_inverse=True)
        texts = pa.array(labels.symbols.texts(symbols), pa.string())
        codes = pa.array(code.astype(np.int32), mask=ids == ABSENT)
        columns.append(pa.DictionaryArray.from_arrays(codes, texts))
    times = batch.times[ragged(batch.time_start[part], count)]
    values = batch.values[ragged(batch.value_start[part], count)]
    columns.append(pa.array(times.astype("datetime64[ms]"), schema.field(TIME).type))
    columns.append(pa.array(values))
    rows = range(part.start, part.start + count.size)
    starts = np.concatenate([np.empty(0, np.int64), *(starts_of(batch, s) for s in rows)])
    columns.append(
        pa.array(starts.astype("datetime64[ms]"), schema.field(START).type, mask=starts == 0)
    )
    return pa.record_batch(columns, schema=schema)
