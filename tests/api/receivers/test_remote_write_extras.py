"""Exemplars and native histograms of remote write: from protobuf to what queries answer."""

from __future__ import annotations

import math
import struct

import cramjam
import pytest

from api.receivers.remote_write_extras import read_extras
from api.wire import WireError
from tests.api.conftest import NOW_S
from tests.protobuf import f64, ld, varint, vi, zigzag

NOW_MS = int(NOW_S * 1000)
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]


def labels(**pairs):
    pairs = {name.replace("__n", "__name__"): value for name, value in pairs.items()}
    return b"".join(ld(1, ld(1, n.encode()) + ld(2, v.encode())) for n, v in sorted(pairs.items()))


def exemplar(value, time_ms, **pairs):
    return ld(3, labels(**pairs) + f64(2, value) + vi(3, time_ms))


def packed(number, values, fmt=None):
    data = struct.pack(f"<{len(values)}d", *values) if fmt else b"".join(
        varint(zigzag(v)) for v in values)  # fmt: skip
    return ld(number, data)


def spans(number, *pairs):
    return b"".join(ld(number, vi(1, zigzag(o)) + vi(2, n)) for o, n in pairs)


def histogram(time_ms=NOW_MS, **parts):
    """Write a histogram; by default 5 observations, schema 0, buckets 1, 2 and 4."""
    given = {
        "count": vi(1, 5),
        "sum": f64(3, 12.5),
        "schema": vi(4, zigzag(0)),
        "zero": f64(5, 0.001) + vi(6, 1),
        "positive": spans(11, (1, 2), (1, 1)) + packed(12, [1, 0, 1]),
        "negative": b"",
        "rest": b"",
        **parts,
    }
    return ld(4, b"".join(given.values()) + vi(15, time_ms))


FLOAT = {
    "count": f64(2, 5.5),
    "zero": f64(5, 0.001) + f64(7, 0.5),
    "positive": spans(11, (1, 2)) + packed(13, [2.5, 2.5], "d"),
}
CUSTOM = {
    "count": vi(1, 3),
    "schema": vi(4, zigzag(-53)),
    "zero": b"",
    "positive": spans(11, (0, 3)) + packed(12, [1, 0, 0]),
    "rest": packed(16, [0.5, 1.0], "d"),
}


def series(*parts, **pairs):
    return ld(1, labels(**(pairs or {"__n": "h"})) + b"".join(parts))


def test_histograms_become_buckets_with_absolute_counts():
    found = read_extras(series(histogram()) + series(histogram(**FLOAT), __n="f"))
    whole, floats = found.histograms
    assert found.series == [{"__name__": "h"}, {"__name__": "f"}]
    assert (whole.positive, whole.count, whole.is_float) == ([(1, 1), (2, 1), (4, 2)], 5, False)
    assert (floats.positive, floats.count, floats.is_float) == ([(1, 2.5), (2, 2.5)], 5.5, True)
    assert (whole.zero_threshold, whole.zero_count, floats.zero_count) == (0.001, 1, 0.5)
    assert found.histogram_times == [NOW_MS, NOW_MS]


def test_unpacked_deltas_are_read_too():
    loose = spans(11, (1, 2)) + vi(12, zigzag(3)) + vi(12, zigzag(-2))
    found = read_extras(series(histogram(positive=loose, count=vi(1, 5))))
    assert found.histograms[0].positive == [(1, 3), (2, 1)]


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        pytest.param({"positive": spans(11, (0, 2)) + packed(12, [1])},
                     "positive side: spans need 2 buckets, have 1 buckets", id="too few counts"),
        pytest.param({"positive": spans(11, (0, 2**32 - 1)) + packed(12, [1])},
                     "spans need 4294967295 buckets", id="a span of four thousand million"),
        pytest.param({"negative": spans(8, (0, 1), (-3, 1)) + packed(9, [1, 1])},
                     "negative side: span number 2 with offset -3", id="spans run backward"),
        pytest.param({"positive": spans(11, (2**31 - 1, 1)) + packed(12, [1])},
                     "index is out of range", id="an index that is no 32-bit number"),
        pytest.param({"positive": spans(11, (0, 2)) + packed(12, [1, -3])},
                     "bucket number 2 has observation count of -2", id="a negative count"),
        pytest.param({"count": vi(1, 3)},
                     "5 observations found in buckets, but the Count field is 3", id="too many"),
        pytest.param({"count": vi(1, 9)}, "equal to the number", id="too few"),
        pytest.param({"schema": vi(4, zigzag(99))}, "schema 99: histogram has an invalid schema",
                     id="no schema"),
        pytest.param({"rest": packed(16, [1.0], "d")}, "must not have custom bounds",
                     id="bounds beside a schema"),
        pytest.param({**CUSTOM, "rest": packed(16, [2.0, 1.0], "d")}, "strictly increasing",
                     id="bounds fall"),
        pytest.param({**CUSTOM, "rest": packed(16, [2.0, math.inf], "d")}, "finite",
                     id="an infinite bound"),
        pytest.param({**CUSTOM, "rest": packed(16, [1.0], "d")}, "custom bounds are too few",
                     id="more buckets than bounds"),
        pytest.param({**CUSTOM, "zero": vi(6, 1)}, "neither zero nor negative",
                     id="a zero bucket beside bounds"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused(parts, problem):
    found = read_extras(series(histogram(**parts)) + series(histogram()))
    assert problem in found.problem
    assert (found.refused, len(found.histograms)) == (1, 1)


def test_sums_that_are_no_number_excuse_missing_observations():
    nan = read_extras(series(histogram(sum=f64(3, math.nan), count=vi(1, 9))))
    stale = read_extras(series(histogram(sum=f64(3, STALE), count=vi(1, 0))))
    assert (nan.problem, stale.problem) == ("", "")


@pytest.mark.parametrize(
    ("body", "unnamed"),
    [
        pytest.param(series(exemplar(1, 1), a="b"), 1, id="no name"),
        pytest.param(ld(1, labels(__n="a") * 2 + exemplar(1, 1)), 1, id="a label twice"),
        pytest.param(ld(1, ld(1, ld(1, b"\xff") + ld(2, b"x")) + exemplar(1, 1)), 1, id="no text"),
        pytest.param(series(ld(3, labels(a="1") * 2)), 1, id="an exemplar's label twice"),
        pytest.param(series(exemplar(1, 1)), 0, id="sound"),
    ],
)
def test_labels_that_are_not_sound(body, unnamed):
    found = read_extras(body)
    assert (found.unnamed, len(found.exemplar_values)) == (unnamed, 1 - unnamed)


@pytest.mark.parametrize(
    "body",
    [
        series(ld(4, ld(1, b"x"))),
        series(ld(4, vi(3, 1))),
        series(ld(4, ld(13, b"1234567"))),
        series(ld(4, ld(12, b"\xff"))),
        series(ld(3, vi(2, 1))),
        series(ld(3, ld(3, b"x"))),
    ],
)
def test_what_is_no_message_of_the_kind(body):
    with pytest.raises(WireError):
        read_extras(body)


def send(api, *bodies):
    headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}
    return [
        (
            "POST",
            "/api/v1/write",
            {"data": bytes(cramjam.snappy.compress_raw(body)), "headers": headers},
        )
        for body in bodies
    ]


def test_histograms_are_stored_and_answered(real):
    body = series(histogram()) + series(histogram(**CUSTOM), __n="c")
    written, query, buckets = real.ask_all(
        [
            *send(real, body),
            ("GET", "/api/v1/query?query=h", {}),
            ("GET", "/api/v1/query?query=histogram_count(c)", {}),
        ]
    )
    assert (written.status, written.text) == (204, "")
    found = query.json["data"]["result"][0]
    assert found["metric"] == {"__name__": "h"}
    assert (found["histogram"][1]["count"], found["histogram"][1]["sum"]) == ("5", "12.5")
    assert found["histogram"][1]["buckets"] == [
        [3, "-0.001", "0.001", "1"],
        [0, "1", "2", "1"],
        [0, "2", "4", "1"],
        [0, "8", "16", "2"],
    ]
    assert buckets.json["data"]["result"][0]["value"][1] == "3"


def test_a_refused_histogram_is_told_and_its_neighbours_stay(real):
    late = NOW_MS + 3_600_000
    bad, ahead, query = real.ask_all(
        [
            *send(
                real,
                series(histogram(count=vi(1, 1))) + series(histogram(), __n="good"),
                series(histogram(late), __n="ahead"),
            ),
            ("GET", '/api/v1/query?query=histogram_count({__name__=~".%2b"})', {}),
        ]
    )
    assert (bad.status, ahead.status) == (400, 400)
    assert "observations found in buckets" in bad.text
    assert ahead.text.startswith("out of bounds: timestamp is too far in the future for series {")
    assert len(query.json["data"]["result"]) == 1


def test_exemplars_are_stored_and_answered(real):
    sample = ld(2, f64(1, 1.0) + vi(2, NOW_MS))
    exemplars = exemplar(0.5, NOW_MS - 1, trace="t1") + exemplar(2, NOW_MS, trace="t2")
    body = series(sample, exemplars, __n="up", z="1")
    body += series(sample, exemplar(7, NOW_MS), __n="up", b="2")
    written, found, none = real.ask_all(
        [
            *send(real, body),
            ("POST", "/api/v1/query_exemplars", {"data": {"query": "rate(up[5m]) + nope"}}),
            ("GET", f"/api/v1/query_exemplars?query=up&end={NOW_MS / 1000 - 10}", {}),
        ]
    )
    assert written.status == 204
    assert found.json["data"] == [
        {
            "seriesLabels": {"__name__": "up", "b": "2"},
            "exemplars": [{"labels": {}, "value": "7", "timestamp": NOW_MS // 1000}],
        },
        {
            "seriesLabels": {"__name__": "up", "z": "1"},
            "exemplars": [
                {"labels": {"trace": "t1"}, "value": "0.5", "timestamp": (NOW_MS - 1) / 1000},
                {"labels": {"trace": "t2"}, "value": "2", "timestamp": NOW_MS // 1000},
            ],
        },
    ]
    assert list(found.json["data"][0]) == ["seriesLabels", "exemplars"]
    assert none.json["data"] == []
