"""Queries that nobody thought of, put to this server and to a Prometheus 3.5 with the same data.

Answers, errors, warnings and infos have to be the same to the letter, and so have the words for
texts that are no queries. A difference is known by what was asked and what came back.
"""

import contextlib
import json
import math
import re
import struct
import subprocess
import urllib.error
import urllib.parse
import urllib.request

import cramjam
import pytest

from tests.end_to_end.processes import Server, free_port, prometheus_3, until
from tests.end_to_end.random_queries import RandomQueries
from tests.protobuf import f64, ld, varint, vi, zigzag

pytestmark = [pytest.mark.timeout(400), pytest.mark.peer]

BEGIN_S, LENGTH_S = 1_793_491_200, 3000
TIMES_MS = [1000 * (BEGIN_S + after) for after in range(0, LENGTH_S, 15)]
STALE = struct.pack("<Q", 0x7FF0000000000002)
QUERIES, BROKEN = 900, 500
FEATURES = "promql-experimental-functions,promql-duration-expr,native-histograms"

KNOWN = {
    "a sort of a range is told to have no effect": r"sort is ineffective",
    "which of the series that collide is met first depends on how they were written": (
        r"error: found duplicate series .* / found duplicate series"
    ),
    "one to one is seen to before a comparison filters": r"many-to-one matching must be explicit",
    "no histogram is extrapolated below zero": r"\b(rate|increase)\(.*\| histogram: ",
    "more may be an offset or a step": r"step\(\), ",
    "histograms are trimmed": r"<op:[<>]?/>",
    "any letter after a space is the colon of a subquery": r"unexpected colon|, expected ':'",
    "an offset may not be NaN": r"(?i)offset *[-+]? *nan",
    "which pair of a step is the last depends on how series were written": (
        r"\bmix\b.*\| infos: .*incompatible sample types"
    ),
    "the last digit of a logarithm is a label's": r"count_values.*\b(ln|exp)\(.*\| series: ",
    "a clause without labels is printed": r"^format_query.*ignoring \(\) group_.*\| data: ",
    "a token has lost its name": r'"<Item \d+>"',
}
"""What Prometheus answers since 3.5, or answers by chance."""


def label_texts(labels):
    return b"".join(
        ld(1, ld(1, name.encode()) + ld(2, value.encode())) for name, value in sorted(labels)
    )


def float_sample(time_ms, value):
    raw = STALE if value is None else struct.pack("<d", value)
    return ld(2, b"\x09" + raw + vi(2, time_ms))


def histogram(time_ms, counts, *, schema=0, bounds=(), hint=0):
    """Return integer buckets from index 0 on, of which the sum is half of all."""
    deltas = [count - before for before, count in zip([0, *counts], counts, strict=False)]
    body = vi(1, sum(counts)) + f64(3, sum(counts) / 2) + vi(4, zigzag(schema)) + vi(6, 0)
    body += ld(11, vi(1, 0) + vi(2, len(counts)))
    body += ld(12, b"".join(varint(zigzag(delta)) for delta in deltas))
    body += vi(14, hint) + vi(15, time_ms)
    if bounds:
        body += ld(16, struct.pack(f"<{len(bounds)}d", *bounds))
    return ld(4, body)


def all_series():
    """Yield labels and samples: floats with gaps and specials, resets, histograms of all kinds."""
    pairs = (("x", "1"), ("x", "2"), ("y", "1"), ("y", "2"), ("z", "1"), ("z", ""))
    special = {40: math.nan, 60: math.inf, 80: -math.inf, 100: None, 101: None, 120: -0.0}
    for row, (a, b) in enumerate(pairs):
        labels = [("a", a), *([("b", b)] if b else [])]

        def named(name, labels=labels):
            return [("__name__", name), *labels]

        yield (
            named("g"),
            [
                float_sample(at, special.get(n - row, row + n % 7))
                if row != 3 or abs(n - 78) > 17
                else b""
                for n, at in enumerate(TIMES_MS)
            ],
        )
        yield (
            named("tie"),
            [float_sample(at, (n // 40 + row // 2) % 3) for n, at in enumerate(TIMES_MS)],
        )
        yield (
            named("c_total"),
            [
                float_sample(at, float(n % (50 + 7 * row)) * (row + 1))
                for n, at in enumerate(TIMES_MS)
            ],
        )
        grown = [[n % (60 + row), 2 * (n % (60 + row)) + 1, 3] for n in range(len(TIMES_MS))]
        yield (
            named("nh"),
            [
                histogram(at, counts, schema=row % 3, hint=3 if row == 5 else 0)
                for at, counts in zip(TIMES_MS, grown, strict=True)
            ],
        )
        yield (
            named("cb"),
            [
                histogram(at, counts, schema=-53, bounds=(0.5, 2.0))
                for at, counts in zip(TIMES_MS, grown, strict=True)
            ],
        )
        yield (
            named("mix"),
            [
                float_sample(at, float(n)) if (row + n // 30) % 2 else histogram(at, grown[n])
                for n, at in enumerate(TIMES_MS)
            ],
        )
    for number, a in enumerate("xyw"):
        labels = [("__name__", "one"), ("a", a), ("b", "9"), ("extra", f"e{a}")]
        yield labels, [float_sample(at, float(number + 1)) for at in TIMES_MS]


SLICE = 30
"""Samples of a series in a request: of one kind, for the kinds of a request are stored in turn."""


def requests():
    """Return bodies of remote write, in the order of time."""
    series = list(all_series())
    for first in range(0, len(TIMES_MS), SLICE):
        yield b"".join(
            ld(1, label_texts(labels) + b"".join(filter(None, samples[first : first + SLICE])))
            for labels, samples in series
        )


@contextlib.contextmanager
def prometheus(folder):
    binary, port = prometheus_3(), free_port()
    (folder / "prometheus.yml").write_text("{}")
    command = [
        *(binary, f"--config.file={folder / 'prometheus.yml'}"),
        *(f"--storage.tsdb.path={folder / 'reference'}", "--storage.tsdb.retention.time=10y"),
        *(f"--web.listen-address=127.0.0.1:{port}", "--web.enable-remote-write-receiver"),
        *("--storage.tsdb.min-block-duration=2d", "--storage.tsdb.max-block-duration=4d"),
        f"--enable-feature={FEATURES}",
    ]
    with (folder / "reference.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: answers(f"{url}/-/ready"), "Prometheus")
        yield url
    finally:
        process.terminate()
        process.wait()


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return reply.status == 200
    except OSError:
        return False


def ask(url, path, parameters):
    """Return the members of the answer, of an error too."""
    data = urllib.parse.urlencode(parameters).encode()
    try:
        with urllib.request.urlopen(f"{url}/api/v1/{path}", data, timeout=60) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        with error:
            return json.load(error) | {"code": error.code}


def difference(reference, own):
    """Return in words how an answer differs from the reference, None if it does not."""
    if reference["status"] != own["status"] or reference.get("code") != own.get("code"):
        return f"status: {reference.get('error')} / {own.get('error')}"
    if reference["status"] == "error":
        same = (reference["errorType"], reference["error"]) == (own["errorType"], own["error"])
        return None if same else f"error: {reference['error']} / {own['error']}"
    for kind in ("warnings", "infos"):
        texts, ours = sorted(reference.get(kind, [])), sorted(own.get(kind, []))
        if texts != ours and not any("omitted" in text for text in texts):
            return f"{kind}: {texts} / {ours}"
    data, ours = reference["data"], own["data"]
    if not isinstance(data, dict) or "resultType" not in data:
        return None if data == ours else f"data: {data} / {ours}"
    if data["resultType"] not in ("vector", "matrix"):
        same = data["resultType"] == ours["resultType"] and close(data["result"], ours["result"])
        return None if same else f"value: {data} / {ours}"
    series, our_series = by_labels(data["result"]), by_labels(ours["result"])
    if series.keys() != our_series.keys():
        missing, extra = series.keys() - our_series.keys(), our_series.keys() - series.keys()
        return f"series: {sorted(missing)} / {sorted(extra)}"
    for labels, points in series.items():
        for kind in sorted(points.keys() | our_series[labels].keys()):
            value, our = points.get(kind), our_series[labels].get(kind)
            if not close(value, our):
                return f"{kind.removesuffix('s')}: {labels} {value} / {our}"[:2000]
    return None


def by_labels(result):
    return {
        json.dumps(each["metric"], sort_keys=True): {
            kind: points for kind, points in each.items() if kind != "metric"
        }
        for each in result
    }


def close(left, right):
    """Say whether all numbers, also those in texts, are the same but for a billionth."""
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(close, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(close(left[key], right[key]) for key in left)
    if left is None or right is None:
        return left is right
    numbers = [float(side) for side in (left, right)]
    if any(math.isnan(number) for number in numbers):
        return all(math.isnan(number) for number in numbers)
    return math.isclose(*numbers, rel_tol=1e-9, abs_tol=1e-12)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The URLs of a Prometheus and of this server, which hold the same."""
    folder = tmp_path_factory.mktemp("random")
    with prometheus(folder) as reference:
        own = Server(
            folder,
            "--web.enable-remote-write-receiver",
            "--storage.tsdb.retention.time=10y",
            "--enable-feature=promql-experimental-functions",
        )
        own.configure({})
        own.start()
        try:
            headers = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"}
            for body in requests():
                packed = bytes(cramjam.snappy.compress_raw(body))
                for url in (reference, own.url):
                    request = urllib.request.Request(f"{url}/api/v1/write", packed, headers)
                    with urllib.request.urlopen(request, timeout=60) as reply:
                        assert reply.status == 204
            yield reference, own.url
        finally:
            own.stop()


def differing(both, questions):
    """Return the questions of which the answers differ in a way that is not known."""
    told = []
    for path, parameters in questions:
        found = difference(*(ask(url, path, parameters) for url in both))
        text = f"{path} {parameters} | {found}"
        if found is not None and not any(re.search(known, text) for known in KNOWN.values()):
            told.append(text)
    return told


def test_answers_are_those_of_prometheus(both):
    writer = RandomQueries(3, BEGIN_S, LENGTH_S)
    questions = []
    for number in range(QUERIES):
        query, at_s = writer.query(), writer.time_s()
        if number % 2:
            questions.append(("query", {"query": query, "time": at_s}))
        else:
            span = {"start": at_s, "end": at_s + 300, "step": (7, 15, 60)[number % 3]}
            questions.append(("query_range", {"query": query, **span}))
    told = differing(both, questions)
    assert not told, "\n".join([f"{len(told)} answers differ:", *told])


def test_texts_are_printed_or_refused_in_the_words_of_prometheus(both):
    writer = RandomQueries(4, BEGIN_S, LENGTH_S)
    texts = [writer.broken() for _ in range(BROKEN)]
    told = differing(both, [("format_query", {"query": text}) for text in texts])
    told += differing(both, [("parse_query", {"query": writer.query()}) for _ in range(BROKEN)])
    assert not told, "\n".join([f"{len(told)} answers differ:", *told])
