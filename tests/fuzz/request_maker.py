"""Requests that nobody should send, made up from a number: the same number makes the same bytes.

Most are nearly right, so that they come past the first check; some are no HTTP at all.
"""

from __future__ import annotations

import gzip
import json
import random
import zlib
from dataclasses import dataclass
from urllib.parse import quote, quote_from_bytes

import cramjam
import zstandard

READS = (
    "query", "query_range", "query_exemplars", "format_query", "parse_query", "series", "labels",
    "label/job/values", "label/__name__/values", "targets", "targets/metadata",
    "targets/relabel_steps", "scrape_pools", "scrape_pools/config", "metadata", "rules", "alerts",
    "alertmanagers", "notifications", "status/config", "status/flags", "status/runtimeinfo",
    "status/buildinfo", "status/tsdb", "status/tsdb/blocks", "status/walreplay",
    "status/self_metrics", "features", "openapi.yaml", "search/metric_names",
    "search/label_names", "search/label_values", "nope", "",
)  # fmt: skip
OTHERS = (
    "/", "/metrics", "/federate", "/version", "/-/healthy", "/-/ready", "/-/reload", "/-/quit",
    "/ping", "/graph", "/targets", "/api", "/api/v1", "//api//v1//query", "/api/v1/labels/",
    "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/api/v1/label/..%2f..%2fetc/values", "*",
    "http://evil.example/api/v1/query?query=1", "/user/../../x", "/consoles/%00", "/classic",
    "/\\evil.example", "//evil.example/%2f..",
)  # fmt: skip
PUSHES = (
    "/api/v1/write", "/api/v1/read", "/api/v1/otlp/v1/metrics", "/api/v1/import/prometheus",
    "/api/v1/import/graphite", "/write", "/api/v2/write", "/api/push", "/v1/push",
)  # fmt: skip
NAMES = (
    "query", "time", "start", "end", "step", "timeout", "limit", "lookback_delta", "stats",
    "match[]", "metric", "match_target", "limit_per_metric", "state", "scrapePool", "labels",
    "type", "rule_name[]", "exclude_alerts", "group_limit", "group_next_token", "skip_head",
    "search[]", "fuzz_threshold", "fuzz_alg", "sort_by", "metric_name_pattern", "timestamp",
    "extra_label", "precision", "db", "bucket", "openapi_version", "x", "",
)  # fmt: skip
QUERIES = (
    "up", "rate(up[5m])", "sum by (job) (up)", "1+1", '"text"', "up[5m]", "up @ 1", "{a=~\"b.*\"}",
    "histogram_quantile(0.9, sum by (le) (rate(x_bucket[5m])))", "up offset 5m", "-up", "vector(1)",
    "topk(3, up)", "count_values(\"v\", up)", "label_replace(up, \"a\", \"$1\", \"job\", \"(.*)\")",
    "max_over_time(up[1h:1s])", "up * on (job) group_left up", "absent(nope)", "up > bool 1",
    "quantile_over_time(2, up[5m])", "predict_linear(up[5m], 1e300)", "info(up)", "up unless up",
    "sort_desc(up)", "avg_over_time(up[5m] @ end())", "time() % 0", "up ^ 1e308", "up{}",
    "clamp(up, NaN, -Inf)", "round(up, 0)", "day_of_year(up * 1e18)", "up offset -99y",
)  # fmt: skip
TOKENS = (
    *"(){}[],.:+-*/%^=!<>@\"'`#\\~_ \n\t", "up", "sum", "by", "without", "on", "ignoring", "bool",
    "group_left", "offset", "rate(", "[5m]", "[5m:]", "1e999", "0x", "NaN", "Inf", "-Inf", "5m",
    "1y", "=~", "!~", "==", "and", "or", "unless", "atan2", "start()", "end()", "\u00e9",
    "\U0001f600", "\x00", "\ud800", "\\xff", "\\u0000", "{__name__=", "\"a\"", "9" * 20,
    "(" * 50,
)  # fmt: skip
TEXTS = (
    "", "0", "1", "-1", "1.5", "1e9", "1e308", "-1e308", "NaN", "Inf", "-Inf", "9" * 30, "0x10",
    "1700000000", "1700000000.123456789", "2024-01-01T00:00:00Z", "2024-13-45T99:99:99Z",
    "0000-00-00T00:00:00Z", "292277025-08-18T07:12:54.999999999Z", "1m", "5m30s", "-5m", "1y" * 20,
    "0.0000001", "true", "all", "active", "job", "{}", "up", "{job=\"x\"}", "{a=~\"(\"}", "null",
    "[]", "{\"a\":\"b\"}", "{\"a\":1}", "\x00", "\r\nX-Evil: 1", "<script>", "../../etc/passwd",
    "'; drop", "%", "%zz", "&", ";", "\u2028", "\ud800", "a" * 5000, "\u00e9" * 300, "ns", "h",
)  # fmt: skip
ENCODINGS = (
    "",
    "gzip",
    "deflate",
    "gzip, deflate",
    "br",
    "zstd",
    "*",
    "gzip;q=0",
    "\xff",
    "," * 99,
)
ACCEPTS = (
    "*/*", "application/openmetrics-text;version=1.0.0", "text/plain;version=0.0.4;q=x",
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
    ";;;", "text/plain; escaping=values", "a/b,c/d;q=0.1," * 50,
)  # fmt: skip
METHODS = ("GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "TRACE", "CONNECT", "FOO")
TYPES = (
    "application/x-www-form-urlencoded", "application/json", "application/x-protobuf", "text/plain",
    "application/x-protobuf;proto=io.prometheus.write.v2.Request", "multipart/form-data",
    "multipart/form-data; boundary=b", ";;;", "",
    "application/openmetrics-text; version=1.0.0; charset=utf-8",
    "application/x-protobuf;proto=nope", "application/x-www-form-urlencoded; charset=\xff",
)  # fmt: skip
FORM = (("Content-Type", TYPES[0]),)
CODINGS = ("", "identity", "snappy", "gzip", "zstd", "deflate", "br", "gzip, gzip", "GZIP", "x")
LINES = (
    b"# TYPE a counter\na_total{b=\"c\"} 1 1700000000000\n", b"a 1\n# EOF\n", b"a{b=\"\\", b"a{",
    b"a NaN\n", b"a,b=c d=1,e=\"x\",f=2i,g=t 1700000000000000000\n", b"a.b.c;d=e 1 1700000000\n",
    b"a 0x1p-2 1\n",
    b'[{"endpoint":"h","metric":"m","timestamp":1,"step":60,"value":1,"counterType":"GAUGE"}]',
    b"{\"a.b\",c=\"\xff\"} 1\n", b"# HELP a \\\n", b"a" * 70_000 + b" 1\n", b"\x00\x01\x02",
    b"a 1e99999\n",
)  # fmt: skip
OTLP = {
    "resourceMetrics": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "s"}}]},
            "scopeMetrics": [
                {
                    "metrics": [
                        {"name": "g", "gauge": {"dataPoints": [{"asInt": 1, "timeUnixNano": "1"}]}},
                        {
                            "name": "h",
                            "exponentialHistogram": {
                                "aggregationTemporality": 2,
                                "dataPoints": [
                                    {"count": "3", "sum": 1, "scale": 3, "timeUnixNano": "1",
                                     "positive": {"offset": 1, "bucketCounts": ["1", "2"]}}
                                ],
                            },
                        },
                    ]
                }
            ],
        }
    ]
}  # fmt: skip


@dataclass(frozen=True)
class Made:
    """Bytes to send. `whole`: they are HTTP, and one reply must come."""

    data: bytes
    whole: bool
    kind: str


def make(seed: int, number: int) -> Made:
    """Return the request of a number."""
    chance = random.Random(f"{seed}:{number}")
    kind = chance.choices((_read, _query, _push, _broken, _large), (45, 25, 18, 10, 2))[0]
    return kind(chance)


def _request(chance, method, target, headers=(), body=None) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: x"]
    lines += [f"{name}: {value}" for name, value in headers]
    if chance.random() < 0.5:
        lines.append(f"Accept-Encoding: {chance.choice(ENCODINGS)}")
    if chance.random() < 0.2:
        lines.append(f"Accept: {chance.choice(ACCEPTS)}")
    if chance.random() < 0.2:
        lines.append(f"Origin: {chance.choice(('http://x', 'null', '<>', 'a' * 3000))}")
    chunked = body is not None and chance.random() < 0.2
    if chunked:
        lines.append("Transfer-Encoding: chunked")
    elif body is not None:
        lines.append(f"Content-Length: {len(body)}")
    head = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"
    if not chunked:
        return head + (body or b"")
    parts = []
    while body:
        size = chance.randint(1, max(1, len(body)))
        parts.append(b"%x\r\n%b\r\n" % (size, body[:size]))
        body = body[size:]
    return head + b"".join(parts) + b"0\r\n\r\n"


def _whole(chance, kind, method, target, headers=(), body=None) -> Made:
    return Made(_request(chance, method, target, headers, body), whole=True, kind=kind)


def _text(chance) -> str:
    kind = chance.random()
    if kind < 0.6:
        return chance.choice(TEXTS)
    if kind < 0.8:
        return _expression(chance)
    return "".join(chr(chance.randint(0, 0x2FF)) for _ in range(chance.randint(0, 30)))


def _escaped(chance, text: str) -> str:
    raw = text.encode("utf-8", "surrogatepass")
    if chance.random() < 0.05:
        return quote_from_bytes(bytes(chance.randbytes(chance.randint(0, 20))))
    if chance.random() < 0.05:
        return quote(raw)[: chance.randint(0, 40)] + "%"
    return quote(raw)


def _pairs(chance, least=0) -> str:
    pairs = [
        f"{_escaped(chance, chance.choice(NAMES))}={_escaped(chance, _text(chance))}"
        for _ in range(chance.randint(least, 5))
    ]
    return chance.choice(("&", "&", "&", "&&", ";")).join(pairs)


def _read(chance) -> Made:
    path = f"/api/v1/{chance.choice(READS)}" if chance.random() < 0.85 else chance.choice(OTHERS)
    if path.endswith("/values") and chance.random() < 0.5:
        path = f"/api/v1/label/{_escaped(chance, _text(chance)).replace('/', '%2f')}/values"
    if chance.random() < 0.7:
        path += f"?{_pairs(chance)}"
    method = "GET" if chance.random() < 0.6 else chance.choice(METHODS)
    if method in ("POST", "PUT") and "/-/" in path:
        method = "GET"
    body = None
    headers = []
    if method in ("POST", "PUT", "PATCH", "DELETE"):
        headers.append(("Content-Type", chance.choice(TYPES)))
        body = _pairs(chance, 1).encode() if chance.random() < 0.8 else chance.randbytes(100)
    data = _request(chance, method, path, headers, body)
    return Made(data, whole=method != "CONNECT", kind="read")


def _expression(chance) -> str:
    kind = chance.random()
    if kind < 0.3:
        return chance.choice(QUERIES)
    if kind < 0.6:
        return "".join(chance.choices(TOKENS, k=chance.randint(1, 15)))
    text = list(chance.choice(QUERIES))
    for _ in range(chance.randint(1, 4)):
        at = chance.randint(0, len(text))
        match chance.randint(0, 2):
            case 0:
                text[at : at + chance.randint(1, 4)] = []
            case 1:
                text.insert(at, chance.choice(TOKENS))
            case _:
                text[at:at] = text[: chance.randint(0, len(text))]
    return "".join(text)


def _query(chance) -> Made:
    query = _escaped(chance, _expression(chance))
    end = chance.choice((1_700_000_000, 0, 1e9, 1e15))
    path, rest = chance.choice(
        (
            ("query", f"time={chance.choice(TEXTS[:12])}"),
            ("query_range", f"start={end - 600}&end={end}&step={chance.choice((1, 15, 300))}"),
            ("query_exemplars", "start=0&end=1e15"),
            ("format_query", ""),
            ("parse_query", ""),
            ("series", f"match[]={query}"),
        )
    )
    pairs = f"query={query}&{quote(rest, safe='=&[]%')}"
    if chance.random() < 0.3:
        headers = [("Content-Type", TYPES[0])]
        return Made(
            _request(chance, "POST", f"/api/v1/{path}", headers, pairs.encode()), True, "query"
        )
    return _whole(chance, "query", "GET", f"/api/v1/{path}?{pairs}")


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes((number & 127 | 128,))
        number >>= 7
    return out + bytes((number,))


def _message(chance, depth=0) -> bytes:
    """Return protobuf of whatever fields: what decoders of all kinds of messages have to bear."""
    out = b""
    for _ in range(chance.randint(1, 6)):
        field, wire = chance.randint(1, 18), chance.choice((0, 1, 2, 2, 2, 5, 3, 6))
        out += _varint(field << 3 | wire)
        match wire:
            case 0:
                out += _varint(chance.choice((0, 1, 127, 2**32, 2**63, 2**64 - 1, 2**70)))
            case 1:
                out += chance.randbytes(8)
            case 5:
                out += chance.randbytes(4)
            case 2:
                inner = _message(chance, depth + 1) if depth < 5 and chance.random() < 0.6 else b""
                inner = inner or chance.choice(TEXTS).encode("utf-8", "surrogatepass")[:300]
                out += _varint(len(inner) if chance.random() < 0.9 else 2**31) + inner
    return out


def _series(chance) -> bytes:
    """Return a remote write message of one series, or nearly."""
    label = b"\x0a\x08__name__\x12" + _varint(4) + b"fuzz"
    other = chance.choice(TEXTS).encode("utf-8", "surrogatepass")
    more = b"\x0a\x01a\x12" + _varint(len(other)) + other
    time = _varint(chance.choice((0, 1_700_000_000_000, 2**63 - 1, 2**64 - 1)))
    sample = b"\x09" + chance.randbytes(8) + b"\x10" + time
    series = b"".join(b"\x0a" + _varint(len(x)) + x for x in (label, more))
    series += b"\x12" + _varint(len(sample)) + sample
    return b"\x0a" + _varint(len(series)) + series


def _nested(chance) -> bytes:
    deep = chance.choice((10, 1000, 100_000))
    opening, closing = chance.choice(
        ((b"[", b"]"), (b'{"a":', b"}"), (b'{"resourceMetrics":[', b"]}"))
    )
    return opening * deep + b"1" + closing * chance.choice((deep, deep - 1, 0))


def _otlp(chance) -> bytes:
    text = json.dumps(OTLP)
    for _ in range(chance.randint(0, 4)):
        at = chance.randint(0, len(text))
        text = (
            text[:at]
            + chance.choice(('"', "}", "[", "null", "1e999", "-1", "\\u0000", "{}"))
            + text[at + chance.randint(0, 6) :]
        )
    return text.encode()


def _coded(chance, body: bytes, coding: str) -> bytes:
    if chance.random() < 0.1:
        return body
    match coding.lower():
        case "snappy":
            packed = bytes(cramjam.snappy.compress_raw(body))
            if chance.random() < 0.1:  # says that it becomes 4 GB
                packed = b"\xff\xff\xff\xff\x0f" + packed[1:]
        case "gzip":
            packed = gzip.compress(body, 1)
        case "zstd":
            packed = zstandard.compress(body, 1)
        case "deflate":
            packed = zlib.compress(body, 1)
        case _:
            return body
    if chance.random() < 0.2:
        return packed[: chance.randint(0, len(packed))]
    if chance.random() < 0.2:
        at = chance.randint(0, max(0, len(packed) - 1))
        return packed[:at] + chance.randbytes(3) + packed[at + 3 :]
    return packed


def _push(chance) -> Made:
    path = chance.choice(PUSHES)
    makers = (
        _message, _series, _nested, _otlp, lambda c: b"".join(c.choices(LINES, k=3)),
        lambda c: c.randbytes(c.randint(0, 400)),
    )  # fmt: skip
    body = chance.choice(makers)(chance)
    coding = chance.choice(CODINGS)
    if path == "/api/v1/write" or path == "/api/v1/read":
        coding = chance.choice(("snappy", "snappy", "", coding))
    headers = [("Content-Type", chance.choice(TYPES))]
    if coding:
        headers.append(("Content-Encoding", coding))
    if chance.random() < 0.3:
        version = chance.choice(("0.1.0", "2.0.0", "9.9.9", "\xff"))
        headers.append(("X-Prometheus-Remote-Write-Version", version))
    target = f"{path}?{_pairs(chance)}" if chance.random() < 0.3 else path
    return Made(
        _request(chance, "POST", target, headers, _coded(chance, body, coding)), True, "push"
    )


def _bomb(chance) -> tuple[str, bytes]:
    coding = chance.choice(("gzip", "zstd", "snappy", "deflate"))
    zeros = b"a" * (200 << 20)
    if coding == "gzip":
        return coding, gzip.compress(zeros, 1)
    if coding == "zstd":
        return coding, zstandard.compress(zeros, 1)
    if coding == "deflate":
        return coding, zlib.compress(zeros, 1)
    return coding, bytes(cramjam.snappy.compress_raw(zeros))


def _large(chance) -> Made:
    """Return much of something, up to all limits."""
    match chance.randint(0, 7):
        case 0:
            return _whole(chance, "large", "GET", f"/api/v1/query?query={'1%2B' * 300_000}1")
        case 1:
            pairs = "&".join(f"match[]=a{n}" for n in range(10_000))
            return _whole(chance, "large", "POST", "/api/v1/series", FORM, pairs.encode())
        case 2:
            headers = [(f"X-{n}", str(n)) for n in range(chance.choice((50, 20_000)))]
            return _whole(chance, "large", "GET", "/api/v1/labels", headers)
        case 3:
            body = b"query=" + b"(" * chance.choice((1000, 100_000, 9 << 20))
            return _whole(chance, "large", "POST", "/api/v1/query", FORM, body)
        case 4 if chance.random() < 0.1:
            coding, body = _bomb(chance)
            headers = [("Content-Encoding", coding), ("Content-Type", TYPES[2])]
            return _whole(chance, "large", "POST", chance.choice(PUSHES), headers, body)
        case 5:
            query = "{" + ",".join(f'a{n}="b"' for n in range(5000)) + "}"
        case 6:
            deep = ("1" + "+1" * 5000, "-" * 20_000 + "1", "(" * 5000 + "1" + ")" * 5000)
            query = chance.choice(deep)
        case _:
            headers = [("Content-Type", "application/json")]
            return _whole(chance, "large", "POST", PUSHES[2], headers, _nested(chance))
    return _whole(chance, "large", "GET", f"/api/v1/query?query={quote(query)}")


def _broken(chance) -> Made:
    """Return what is no request, or none that is whole."""
    good = b"GET /api/v1/query?query=1 HTTP/1.1\r\nHost: x\r\n\r\n"
    post = b"POST /api/v1/query HTTP/1.1\r\nHost: x\r\nContent-Type: " + TYPES[0].encode() + b"\r\n"
    data = chance.choice(
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + chance.randbytes(200),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n",
            b"GET /api/v1/labels HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n"
            b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: x\r\n\r\n",
            b"GET /\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"\r\n\r\n\r\n" + good,
            post + b"Content-Length: -1\r\n\r\nquery=1",
            post + b"Content-Length: 99999999999999999999\r\n\r\nquery=1",
            post + b"Content-Length: 7\r\nContent-Length: 8\r\n\r\nquery=1",
            post + b"Content-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\nquery=1",
            post + b"Content-Length: 100\r\n\r\nquery=1",
            post + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nquery=1",
            post + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nquery=1\r\n0\r\n\r\n",
            post + b"Transfer-Encoding: chunked\r\n\r\n7\r\nquery",
            post + b"Transfer-Encoding: chunked\r\n\r\n7\r\nquery=1\r\n0\r\nX: y\r\n\r\n",
            post + b"Transfer-Encoding: gzip, chunked\r\n\r\n7\r\nquery=1\r\n0\r\n\r\n",
            post + b"Transfer-Encoding: x\r\n\r\nquery=1",
            post + b"Expect: 100-continue\r\nContent-Length: 7\r\n\r\nquery=1",
            post + b"Expect: nonsense\r\nContent-Length: 7\r\n\r\nquery=1",
            b"GET / HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nNo colon\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\n: empty\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
            b"GET / HTTP/1.1\nHost: x\n\n",
            b"GET  /  HTTP/1.1\r\n\r\n",
            b"GET /\xff\xfe HTTP/1.1\r\nHost: \xff\r\n\r\n",
            b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic \xff\xff\r\n\r\n",
            good * 40,
            good[: chance.randint(0, len(good))],
            chance.randbytes(chance.randint(1, 500)),
            bytes(chance.choice(b"GETPOST /?&=HTTP1.\r\n:%") for _ in range(200)),
        )
    )
    if chance.random() < 0.2 and data:
        at = chance.randint(0, len(data) - 1)
        data = data[:at] + chance.randbytes(1) + data[at + 1 :]
    return Made(data, whole=False, kind="broken")
