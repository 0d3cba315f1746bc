"""The newest samples of series -> exposition, in whatever form the client likes.

From: `federate.py`.   To: `federation_kernels.py`, with every text encoded once.
Native histograms go out as such in protobuf, which alone has a form for them; those with custom
buckets become classic ones there, since that is all that the message can say.
Source: Prometheus documentation, federation; its exposition formats; `metrics.proto`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from api.exposition_form import Form, Syntax, legacy
from api.federation_kernels import LINE_BYTES_MAX, message_sizes, write_lines, write_messages
from api.float_kernels import SLACK_BYTES
from api.label_texts import joined, numbered
from api.remote_read_histograms import sides
from api.wire import varint_bytes
from promql.labels import text_ranks
from tsdb.interface import CUSTOM_BUCKETS_SCHEMA, METRIC_NAME, ResetHint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from promql.labels import SeriesLabels
    from tsdb.interface import Bytes, Floats, HistogramColumns, Ints

INSTANCE = "instance"
"""A label that every series is given, if only an empty one, so that the scraper sets none."""

UNTYPED, HISTOGRAM, GAUGE_HISTOGRAM = 3, 4, 5
"""As `metrics.proto` numbers them."""


@dataclass(frozen=True, slots=True)
class NewestSamples:
    """One sample of each of S series, which all have a name.

    Shapes: `times` int64[S] milliseconds, `values` float64[S]. Where `pool[s]` is not negative,
    the sample is the histogram `row[s]` of `pools[pool[s]]`.
    """

    labels: SeriesLabels
    times: Ints
    values: Floats
    pool: Ints
    row: Ints
    pools: Sequence[HistogramColumns]

    def take(self, rows: Ints) -> NewestSamples:
        """Return some of the series, in that order."""
        return NewestSamples(
            self.labels.take(rows),
            self.times[rows],
            self.values[rows],
            self.pool[rows],
            self.row[rows],
            self.pools,
        )


@dataclass(frozen=True, slots=True)
class _Encoded:
    """Label columns as the kernels take them."""

    texts_of: npt.NDArray[np.int32]
    names: Bytes
    name_at: Ints
    texts: Bytes
    text_at: Ints

    def sizes(self) -> Ints:
        """Return the bytes of each series' names and texts, int64[S]."""
        names, texts = np.diff(self.name_at), np.append(np.diff(self.text_at), 0)
        there = self.texts_of >= 0
        sizes: Ints = np.sum(np.where(there, texts[self.texts_of] + names[:, None], 0), axis=0)
        return sizes


def write(samples: NewestSamples, form: Form) -> bytes:
    """Return the exposition of some samples, families by name."""
    if form.syntax is Syntax.PROTOBUF:
        return _protobuf(samples, form)
    return _text(samples.take(np.flatnonzero(samples.pool < 0)), form)


def _text(samples: NewestSamples, form: Form) -> bytes:
    end = b"# EOF\n" if form.syntax is Syntax.OPENMETRICS else b""
    if not samples.times.size:
        return end
    rank, families = _families(samples.labels)
    order = np.argsort(rank, kind="stable")
    samples, family_of = samples.take(order), np.ascontiguousarray(rank[order])
    kind = "unknown" if form.syntax is Syntax.OPENMETRICS else "untyped"
    spelled = [form.name(name) for name in families]
    shown = [name if legacy(name) else f'"{_escaped(name)}"' for name in spelled]
    heads, head_at = joined([f"# TYPE {name} {kind}\n".encode() for name in shown])
    starts, start_at = joined(
        [f"{name}{{".encode() if legacy(name) else f"{{{name},".encode() for name in shown]
    )
    encoded = _encode(
        samples.labels,
        [
            f"{_label(form.name(name))}=".encode()
            for name in samples.labels.names
            if name != METRIC_NAME
        ],
        lambda text: f'"{_escaped(text)}",'.encode(),
    )
    room = (
        encoded.sizes().sum()
        + np.diff(start_at)[family_of].sum()
        + head_at[-1]
        + LINE_BYTES_MAX * family_of.size
        + SLACK_BYTES
    )
    out = np.empty(int(room), dtype=np.uint8)
    stamps = samples.times.astype(np.float64)
    if form.syntax is Syntax.OPENMETRICS:
        stamps /= 1000
    length = write_lines(
        family_of, heads, head_at, starts, start_at, encoded.texts_of, encoded.names,
        encoded.name_at, encoded.texts, encoded.text_at,
        np.ascontiguousarray(samples.values).view(np.uint64), stamps.view(np.uint64), out,
    )  # fmt: skip
    return out[:length].tobytes() + end


def _protobuf(samples: NewestSamples, form: Form) -> bytes:
    if not samples.times.size:
        return b""
    rank, families = _families(samples.labels)
    kinds = _kinds(samples)
    order = np.lexsort((kinds, rank))
    samples, rank, kinds = samples.take(order), rank[order], kinds[order]
    starts = np.flatnonzero(np.diff(rank, prepend=-1) | np.diff(kinds, prepend=-1))
    family_first = np.append(starts, rank.size)
    heads, head_at = joined(
        [
            _bytes(1, form.name(families[name]).encode()) + bytes((24, kind))
            for name, kind in zip(rank[starts].tolist(), kinds[starts].tolist(), strict=True)
        ]
    )
    encoded = _encode(
        samples.labels,
        [
            _bytes(1, form.name(name).encode())
            for name in samples.labels.names
            if name != METRIC_NAME
        ],
        lambda text: _bytes(2, text.encode()),
    )
    bodies, body_at = _bodies(samples)
    times = np.ascontiguousarray(samples.times)
    metric_sizes = np.empty(times.size, dtype=np.int64)
    family_sizes = np.empty(starts.size, dtype=np.int64)
    message_sizes(
        family_first, head_at, encoded.texts_of, encoded.name_at, encoded.text_at, body_at, times,
        metric_sizes, family_sizes,
    )  # fmt: skip
    # A length before each family, of five bytes at most as long as it is below 32 GB.
    out = np.empty(int(family_sizes.sum()) + 5 * starts.size + SLACK_BYTES, dtype=np.uint8)
    length = write_messages(
        family_first, heads, head_at, encoded.texts_of, encoded.names, encoded.name_at,
        encoded.texts, encoded.text_at, bodies, body_at, times, metric_sizes, family_sizes, out,
    )  # fmt: skip
    return out[:length].tobytes()


def _families(labels: SeriesLabels) -> tuple[Ints, list[str]]:
    """Return the number of each series' name, int64[S], and the names sorted."""
    column = labels.column(METRIC_NAME)
    names = sorted(labels.symbols.texts(np.unique(column)))
    return text_ranks(column, labels.symbols), names


def _encode(labels: SeriesLabels, names: list[bytes], encode: Callable[[str], bytes]) -> _Encoded:
    """Return labels for the kernels, with an empty instance where a series has none.

    `names` are encoded as those of all labels beside the metric's name, in their order.
    """
    others = labels.drop((METRIC_NAME,))
    texts_of, distinct = numbered(others.ids)
    instance = texts_of[others.names.index(INSTANCE)]
    instance[instance < 0] = distinct.size
    texts = [encode(text) for text in labels.symbols.texts(distinct)]
    joined_names, name_at = joined(names)
    joined_texts, text_at = joined([*texts, encode("")])
    return _Encoded(texts_of, joined_names, name_at, joined_texts, text_at)


def _label(name: str) -> str:
    return name if legacy(name) and ":" not in name else f'"{_escaped(name)}"'


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


# ------------------------------------------------------------------ histograms


def _kinds(samples: NewestSamples) -> Ints:
    """Return the type of each sample's family."""
    kinds = np.full(samples.times.size, UNTYPED)
    for number, columns in enumerate(samples.pools):
        mine = samples.pool == number
        gauge = columns.hint[samples.row[mine]] == ResetHint.GAUGE
        kinds[mine] = np.where(gauge, GAUGE_HISTOGRAM, HISTOGRAM)
    return kinds


def _bodies(samples: NewestSamples) -> tuple[Bytes, Ints]:
    """Return the encoded fields `untyped` or `histogram`, and where each series' begins."""
    found = np.flatnonzero(samples.pool >= 0).tolist()
    histograms = [
        _bytes(7, histogram(samples.pools[samples.pool[at]], int(samples.row[at]))) for at in found
    ]
    size = np.full(samples.times.size, 11)
    size[found] = [len(each) for each in histograms]
    body_at = np.concatenate(([0], np.cumsum(size)))
    out = np.empty(int(body_at[-1]) + SLACK_BYTES, dtype=np.uint8)
    plain = np.flatnonzero(samples.pool < 0)
    place = body_at[plain]
    # untyped (5), 9 bytes long, value (1), a double
    for offset, byte in enumerate((0x2A, 9, 9)):
        out[place + offset] = byte
    octets = np.ascontiguousarray(samples.values[plain]).astype("<f8").view(np.uint8)
    out[place[:, None] + np.arange(3, 11)] = octets.reshape(-1, 8)
    for at, each in zip(found, histograms, strict=True):
        out[body_at[at] : body_at[at + 1]] = np.frombuffer(each, dtype=np.uint8)
    return out, body_at


def histogram(columns: HistogramColumns, row: int) -> bytes:
    """Return one native histogram as the message Histogram of `metrics.proto`."""
    is_float, schema = bool(columns.is_float[row]), int(columns.schema[row])
    count, zero_count = float(columns.count[row]), float(columns.zero_count[row])
    out = [_double(4, count) if is_float else _varint(1, int(count))]
    out.append(_double(2, float(columns.sum[row])))
    if schema == CUSTOM_BUCKETS_SCHEMA:
        return b"".join([*out, *_classic(columns, row)])
    out += (_varint(5, schema << 1 ^ schema >> 63), _double(6, float(columns.zero_threshold[row])))
    out.append(_double(8, zero_count) if is_float else _varint(7, int(zero_count)))
    out += sides(columns, row, is_float=is_float, negative=(9, 10, 11), positive=(12, 13, 14))
    low, high = columns.positive_start[row : row + 2]
    if low == high and columns.negative_start[row] == columns.negative_start[row + 1]:
        # Without a span it would be read as a classic histogram.
        out.append(_bytes(12, _varint(1, 0) + _varint(2, 0)))
    return b"".join(out)


def _classic(columns: HistogramColumns, row: int) -> list[bytes]:
    """Return the buckets (3) of a histogram with listed bounds, counted from below."""
    low = int(columns.bounds_start[row])
    bounds = columns.bounds[low : low + int(columns.bounds_count[row])]
    counts = np.zeros(bounds.size + 1)
    first, stop = columns.positive_start[row : row + 2]
    counts[columns.positive_index[first:stop]] = columns.positive_count[first:stop]
    below = np.cumsum(counts)
    is_float = bool(columns.is_float[row])
    return [
        _bytes(3, (_double(4, total) if is_float else _varint(1, int(total))) + _double(2, bound))
        for total, bound in zip(below.tolist(), [*bounds.tolist(), np.inf], strict=True)
    ]


def _varint(field: int, number: int) -> bytes:
    return varint_bytes(field << 3) + varint_bytes(number)


def _double(field: int, value: float) -> bytes:
    return varint_bytes(field << 3 | 1) + struct.pack("<d", value)


def _bytes(field: int, payload: bytes) -> bytes:
    return varint_bytes(field << 3 | 2) + varint_bytes(len(payload)) + payload
