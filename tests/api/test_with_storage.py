"""The API on the real engine and the real store: what senders bring is what readers get."""

from __future__ import annotations

import json
import math
import struct

import cramjam
import numpy as np

from tests.protobuf import varint
from tsdb.interface import LabelSpans, Matcher, MatchOp, Selection

NOW_MS = 1_795_470_000_000
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]


def fill(storage, rows):
    """Append (labels, {time: value})."""
    refs = storage.resolve(LabelSpans.from_labels([labels for labels, _ in rows]))
    for ref, (_, samples) in zip(refs.tolist(), rows, strict=True):
        storage.append(
            np.full(len(samples), ref, dtype=np.int64),
            np.array(list(samples), dtype=np.int64),
            np.array(list(samples.values()), dtype=np.float64),
        )


def test_read_endpoints(real):
    fill(
        real.storage,
        [
            ({"__name__": "up", "job": "a"}, {1000: 1.0, 16_000: 3.0, 31_000: 4.0}),
            ({"__name__": "up", "job": "b"}, {1000: math.inf, 16_000: -0.0}),
        ],
    )
    instant, matrix, raw, names, values, series = real.ask_all(
        [
            ("GET", "/api/v1/query?query=up&time=20", {}),
            ("GET", "/api/v1/query_range?query=rate(up[1m])&start=30&end=40&step=10", {}),
            ("GET", "/api/v1/query?query=up[1m]&time=31", {}),
            ("GET", "/api/v1/labels", {}),
            ("GET", "/api/v1/label/job/values?match[]=up", {}),
            ("GET", "/api/v1/series?match[]={job=%22b%22}", {}),
        ]
    )
    assert [s["value"] for s in instant.json["data"]["result"]] == [[20, "3"], [20, "-0"]]
    assert len(matrix.json["data"]["result"]) == 2
    assert raw.json["data"]["result"][0]["values"] == [[1, "1"], [16, "3"], [31, "4"]]
    assert names.json["data"] == ["__name__", "job"]
    assert values.json["data"] == ["a", "b"]
    assert series.json["data"] == [{"__name__": "up", "job": "b"}]


def captured(root):
    for info_path in sorted((root / "remote" / "write").glob("*/??.json")):
        info = json.loads(info_path.read_text())
        if not info["sender"].endswith("-v2"):
            yield info, info_path.with_suffix(".bin").read_bytes(), info_path


def value_of(text):
    return STALE if text == "StaleNaN" else float(text)


def test_every_captured_sample_is_stored_bit_for_bit(real, corpora):
    requests, expected = [], {}
    for info, packed, path in captured(corpora):
        headers = {
            name: value for name, value in info["headers"] if name not in ("Content-Length",)
        }
        requests.append(("POST", info["path"], {"data": packed, "headers": headers}))
        decoded = path.with_name(path.stem + ".decoded.json")
        if decoded.exists():
            for message in json.loads(decoded.read_text())["timeseries"]:
                key = tuple(sorted(message["labels"].items()))
                for time, value in message.get("samples", ()):
                    # The first of several values for one time stays.
                    expected.setdefault((key, time), struct.pack("<d", value_of(value)))
    replies = real.ask_all(requests)
    for reply, (_, _, request) in zip(replies, requests, strict=True):
        assert reply.status in (204, 400), reply.text
        assert (
            reply.status == 204
            or "custom bounds are too few" in reply.text
            or ("duplicate sample" in reply.text)
        ), (reply.text, request["headers"])
    selection = Selection((Matcher("__name__", MatchOp.MATCHES, ".+"),), 0, 2 * NOW_MS)
    (batch,) = real.storage.select([selection])
    stored = {}
    for series in range(batch.series_count):
        key = tuple(sorted(batch.labels.row(series).items()))
        start, values = batch.time_start[series], batch.value_start[series]
        for i in range(int(batch.count[series])):
            stored[key, int(batch.times[start + i])] = batch.values[values + i].tobytes()
    assert len(expected) > 5000
    missing = [sample for sample in expected if sample not in stored]
    assert not missing[:3]
    wrong = [
        (sample, stored[sample], bits)
        for sample, bits in expected.items()
        if stored[sample] != bits and not math.isnan(struct.unpack("<d", bits)[0])
    ]
    assert not wrong[:3]


def test_a_pushed_sample_is_there_for_the_next_query(real):
    label = b"\x0a\x12" + b"\x0a\x08__name__\x12\x06pushed"
    sample = b"\x12\x10\x09" + struct.pack("<d", 42.5) + b"\x10" + varint(NOW_MS)
    message = label + sample
    body = b"\x0a" + bytes([len(message)]) + message
    pushed, answer = real.ask_all(
        [
            (
                "POST",
                "/api/v1/write",
                {
                    "data": bytes(cramjam.snappy.compress_raw(body)),
                    "headers": {
                        "Content-Type": "application/x-protobuf",
                        "Content-Encoding": "snappy",
                    },
                },
            ),
            ("GET", f"/api/v1/query?query=pushed&time={NOW_MS / 1000}", {}),
        ]
    )
    assert pushed.status == 204
    assert answer.json["data"]["result"] == [
        {"metric": {"__name__": "pushed"}, "value": [NOW_MS // 1000, "42.5"]}
    ]
