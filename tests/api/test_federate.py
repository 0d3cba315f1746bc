"""/federate in every form, against writers and readers in plain Python."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.exposition_form import ALLOW, DOTS, VALUES, Form, Syntax, negotiate
from api.federate import exposition
from api.receivers.remote_write_extras import Histogram, columns
from api.wire import fields, read_varint, signed
from promql.float_text import general_text
from tests.api.conftest import ListStorage
from tsdb.database import Database
from tsdb.interface import LabelSpans, Matcher, MatchOp

ALL = (Matcher("__name__", MatchOp.MATCHES, ".+"),)
TEXT_ALLOW = Form(Syntax.TEXT, ALLOW)
OPENMETRICS = Form(Syntax.OPENMETRICS)
PROTOBUF = Form(Syntax.PROTOBUF, ALLOW)
ACCEPT_OF_PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;"
    "escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
DELIMITED = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        pytest.param("", Form(Syntax.TEXT), id="nothing"),
        pytest.param("*/*", Form(Syntax.TEXT), id="anything"),
        pytest.param("text/html", Form(Syntax.TEXT), id="what we have not"),
        pytest.param("text/plain;escaping=values", Form(Syntax.TEXT, VALUES), id="a scheme"),
        pytest.param("text/plain;escaping=what", Form(Syntax.TEXT), id="an unknown scheme"),
        pytest.param("text/plain; version=0.0.4;escaping=dots", Form(Syntax.TEXT, DOTS), id="dots"),
        pytest.param(ACCEPT_OF_PROMETHEUS, Form(Syntax.OPENMETRICS, ALLOW), id="Prometheus 3"),
        pytest.param(f"{DELIMITED};q=0.6,text/plain;q=0.9", Form(Syntax.TEXT), id="by liking"),
        pytest.param(f"{DELIMITED},text/plain", Form(Syntax.PROTOBUF), id="by place"),
        pytest.param(
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
            Form(Syntax.TEXT),
            id="protobuf that is not delimited",
        ),
        pytest.param("text/plain;q=x,*/*;q=0", Form(Syntax.TEXT), id="likings that are none"),
    ],
)
def test_the_accept_header_decides(accept, form):
    assert negotiate(accept) == form


def plain_text(rows, external, form):
    """Write what `exposition` should, line by line."""
    lines, last = [], None
    openmetrics = form.syntax is Syntax.OPENMETRICS
    for labels, (time, value) in sorted(rows, key=lambda row: row[0]["__name__"]):
        shown = {"instance": "", **external, **labels}
        name = form.name(shown.pop("__name__"))
        old = name.replace(":", "_").isidentifier() and name.isascii()
        quoted = name if old else quote(name)
        if name != last:
            lines.append(f"# TYPE {quoted} {'unknown' if openmetrics else 'untyped'}")
        last = name
        pairs = []
        for label in sorted(shown):
            spelled = form.name(label)
            spelled = spelled if spelled.isidentifier() and spelled.isascii() else quote(spelled)
            pairs.append(f"{spelled}={quote(shown[label])}")
        pairs = ",".join(pairs)
        stamp = f"{time / 1000:.3f}".rstrip("0").rstrip(".") if openmetrics else time
        line = f"{name}{{{pairs}}}" if old else f"{{{quoted},{pairs}}}"
        lines.append(f"{line} {general_text(value)} {stamp}")
    return "".join(f"{line}\n" for line in lines) + ("# EOF\n" if openmetrics else "")


def quote(text):
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    return f'"{escaped}"'


def plain_protobuf(data):
    """Return [(name, type, [(labels, value or Histogram fields, time)])]."""
    families, at = [], 0
    while at < len(data):
        start, size = read_varint(data, at)
        at = start + size
        name, kind, metrics = "", 0, []
        for number, part in fields(data[start:at]):
            if number == 1:
                name = part.decode()
            elif number == 3:
                kind = part
            elif number == 4:
                metrics.append(plain_metric(part))
        families.append((name, kind, metrics))
    return families


def plain_metric(message):
    labels, value, time = {}, None, None
    for number, part in fields(message):
        if number == 1:
            pair = dict(fields(part))
            labels[pair[1].decode()] = pair[2].decode()
        elif number == 5:
            value = struct.unpack("<d", dict(fields(part))[1])[0]
        elif number == 7:
            value = list(fields(part))
        elif number == 6:
            time = signed(part)
    return labels, value, time


names = st.sampled_from(["up", "a:b", "http.status", "Zeile 1", "Ω"])
label_sets = st.dictionaries(
    st.sampled_from(["DC", "instance", "job", "l.x", "zone"]),
    st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=8),
    max_size=4,
)
rows = st.lists(
    st.tuples(
        st.builds(lambda name, labels: {"__name__": name, **labels}, names, label_sets),
        st.tuples(st.integers(1, 10_000_000_000_000), st.floats(allow_nan=False)),
    ),
    max_size=8,
    unique_by=lambda row: tuple(sorted(row[0].items())),
)


def stored(found):
    storage = ListStorage()
    for labels, (time, value) in found:
        storage.add(labels, {time: value, time - 1: 0.5})
    ordered = sorted(found, key=lambda row: tuple(sorted(row[0].items())))
    return storage, ordered


@given(rows, st.sampled_from([Form(Syntax.TEXT), TEXT_ALLOW, OPENMETRICS, Form(Syntax.TEXT, DOTS)]))
@settings(max_examples=80, deadline=None)
def test_lines_equal_the_plain_writer(found, form):
    storage, ordered = stored(found)
    external = {"job": "outside", "replica": 'a"b'}
    body = exposition(storage, [ALL], 0, 10**14, external, form)
    assert body.decode() == plain_text(ordered, external, form)


@given(rows)
@settings(max_examples=60, deadline=None)
def test_messages_hold_what_is_stored(found):
    storage, _ = stored(found)
    families = plain_protobuf(exposition(storage, [ALL], 0, 10**14, {"replica": "a"}, PROTOBUF))
    assert [name for name, _, _ in families] == sorted({row["__name__"] for row, _ in found})
    got = [
        (sorted({"__name__": name, **labels}.items()), time, struct.pack("<d", value))
        for name, kind, metrics in families
        for labels, value, time in metrics
        if kind == 3
    ]
    expected = [
        (sorted({"instance": "", "replica": "a", **labels}.items()), time, struct.pack("<d", value))
        for labels, (time, value) in found
    ]
    assert sorted(got) == sorted(expected)


@given(st.floats(allow_nan=True) | st.sampled_from([1e6, 999999.0, 1e-4, 9.9e-5, 123456789.25]))
@settings(max_examples=100, deadline=None)
def test_values_are_spelled_as_go_does(value):
    storage = ListStorage().add({"__name__": "up"}, {5: value})
    line = exposition(storage, [ALL], 0, 10, {}).decode().splitlines()
    stale = math.isnan(value) and struct.pack("<d", value) == struct.pack("<Q", 0x7FF0000000000002)
    expected = [] if stale else [f'up{{instance=""}} {general_text(value)} 5']
    assert line[1:] == expected


def test_a_series_that_two_selectors_find_comes_once():
    storage = ListStorage().add({"__name__": "up", "a": "b"}, {5: 1.0})
    storage.add({"__name__": "other"}, {5: 2.0})
    up = (Matcher("__name__", MatchOp.EQUAL, "up"),)
    body = exposition(storage, [up, ALL, up], 0, 10, {})
    assert body.decode() == (
        '# TYPE other untyped\nother{instance=""} 2 5\n'
        '# TYPE up untyped\nup{a="b",instance=""} 1 5\n'
    )


@pytest.mark.parametrize("form", [Form(Syntax.TEXT), OPENMETRICS, PROTOBUF])
def test_nothing_selected_is_an_empty_exposition(form):
    end = b"# EOF\n" if form is OPENMETRICS else b""
    for sets in ([], [ALL]):
        assert exposition(ListStorage(), sets, 0, 10, {"a": "b"}, form) == end


def test_native_histograms_go_out_as_such_and_custom_ones_as_classic():
    native = Histogram(-1, 0, False, 7, 1.5, 0.25, 1, [(3, 3.0)], [(-2, 1.0), (0, 2.0)], [])
    bare = Histogram(2, 0, False, 0, 0.0, 0.0, 0, [], [], [])
    custom = Histogram(-53, 0, False, 6, 9.0, 0.0, 0, [(0, 1.0), (2, 5.0)], [], [0.5, 2.0])
    gauge = Histogram(0, 3, True, 2.5, 1.0, 0.0, 0, [(1, 2.5)], [], [])
    storage = Database.in_memory()
    try:
        data = b"__name__bceg"
        spans = [[[0, 8, 8 + at, 9 + at]] for at in range(4)]
        refs = storage.resolve(
            LabelSpans(
                np.frombuffer(data, dtype=np.uint8).copy(),
                np.array(spans, dtype=np.int32).reshape(-1, 4),
                np.arange(5, dtype=np.int64),
            )
        )
        times = np.full(4, 1000, dtype=np.int64)
        storage.append_histograms(refs, times, columns([bare, custom, native, gauge]))
        data = exposition(storage, [ALL], 0, 10_000, {}, PROTOBUF)
        assert exposition(storage, [ALL], 0, 10_000, {}) == b""
    finally:
        storage.close()
    found = {name: (kind, metrics[0]) for name, kind, metrics in plain_protobuf(data)}
    assert {name: kind for name, (kind, _) in found.items()} == {"b": 4, "c": 4, "e": 4, "g": 5}
    assert all(metric[2] == 1000 for _, metric in found.values())
    members = dict(found["e"][1][1])
    assert (members[1], members[5], members[7]) == (7, 1, 1)  # count, schema -1 zigzag, zero count
    assert struct.unpack("<2d", members[2] + members[6]) == (1.5, 0.25)
    spans = [dict(fields(part)) for number, part in found["e"][1][1] if number in (9, 12)]
    assert spans == [{1: 3, 2: 1}, {1: 2, 2: 1}, {1: 6, 2: 1}]
    assert (members[10], members[13]) == (bytes([2, 2]), bytes([6]))  # deltas: 1, 1; 3
    assert [dict(fields(p)) for n, p in found["b"][1][1] if n == 12] == [{1: 0, 2: 0}]
    buckets = [dict(fields(part)) for number, part in found["c"][1][1] if number == 3]
    assert [(each[1], struct.unpack("<d", each[2])[0]) for each in buckets] == [
        (1, 0.5), (1, 2.0), (6, math.inf),
    ]  # fmt: skip
    gauge_members = dict(found["g"][1][1])
    assert struct.unpack("<2d", gauge_members[4] + gauge_members[14]) == (2.5, 2.5)
