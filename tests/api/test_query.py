"""Queries over HTTP: replies byte for byte, and what a Prometheus 3.5.3 answers to bad ones."""

from __future__ import annotations

import gzip
import io
import json
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api import json_writer
from promql.errors import CanceledError, ExecutionError, TooManySamplesError
from promql.labels import QuerySymbols, SeriesLabels
from promql.result import MatrixResult, QueryResult, QueryStats
from tests.api.scripted_engine import QUERY, RANGE, ScriptedEngine, scalar


@pytest.fixture
def loaded(api):
    api.storage.add({"__name__": "up", "job": 'a"<'}, {1000: 1.5, 61_000: 2.5})
    api.storage.add({"__name__": "up", "job": "b"}, {1000: 7.0, 61_007: float("nan")})
    return api


@pytest.mark.parametrize(
    ("path", "data"),
    [
        pytest.param(
            "/api/v1/query?query=up&time=1.5",
            '{"resultType":"vector","result":['
            '{"metric":{"__name__":"up","job":"a\\"<"},"value":[1.500,"1.5"]},'
            '{"metric":{"__name__":"up","job":"b"},"value":[1.500,"7"]}]}',
            id="an instant vector",
        ),
        pytest.param(
            "/api/v1/query?query=nope&time=1",
            '{"resultType":"vector","result":[]}',
            id="nothing is an empty list, not null",
        ),
        pytest.param(
            "/api/v1/query?query=1%2B1&time=4",
            '{"resultType":"scalar","result":[4,"2"]}',
            id="a scalar, which data source checks ask for",
        ),
        pytest.param(
            "/api/v1/query?query=%22a%3Cb%22&time=5.1",
            '{"resultType":"string","result":[5.1,"a\\u003cb"]}',
            id="a string",
        ),
        pytest.param(
            "/api/v1/query?query=up{job=%22b%22}[2m]&time=70",
            '{"resultType":"matrix","result":[{"metric":{"__name__":"up","job":"b"},'
            '"values":[[1,"7"],[61.007,"NaN"]]}]}',
            id="a range selector at an instant: raw samples",
        ),
        pytest.param(
            "/api/v1/query_range?query=sum(up)&start=0&end=120&step=60",
            '{"resultType":"matrix","result":[{"metric":{},"values":[[60,"8.5"],[120,"NaN"]]}]}',
            id="a matrix",
        ),
        pytest.param(
            "/api/v1/query_range?query=1&start=1970-01-01T00:00:01Z&end=2.5&step=1s",
            '{"resultType":"matrix","result":[{"metric":{},"values":[[1,"1"],[2,"1"]]}]}',
            id="a scalar over a range is a series without labels",
        ),
    ],
)
def test_answers_byte_for_byte(loaded, path, data):
    reply = loaded.ask("GET", path)
    assert reply.text == '{"status":"success","data":' + data + "}"
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Vary"] == "Origin"


EXCEEDED = (
    "exceeded maximum resolution of 11,000 points per timeseries. "
    "Try decreasing the query resolution (?step=XX)"
)
NOT_POSITIVE = (
    'invalid parameter "step": zero or negative query resolution step widths are not accepted. '
    "Try a positive integer"
)


@pytest.mark.parametrize(
    ("path", "error"),
    [
        (QUERY, 'invalid parameter "query": unknown position: parse error: no expression found in '
         "input"),
        (f"{QUERY}?query=1&time=abc", "invalid parameter \"time\": invalid time value for 'time': "
         'cannot parse "abc" to a valid timestamp'),
        (f"{QUERY}?query=1&time=%ff", "invalid parameter \"time\": invalid time value for 'time': "
         'cannot parse "\\xff" to a valid timestamp'),
        (f"{QUERY}?query=1&timeout=abc", 'invalid parameter "timeout": cannot parse "abc" to a '
         "valid duration"),
        (f"{QUERY}?query=1&timeout=1h1h", 'invalid parameter "timeout": cannot parse "1h1h" to a '
         "valid duration"),
        (f"{QUERY}?query=1&limit=-1", 'invalid parameter "limit": limit must be non-negative'),
        (f"{QUERY}?query=1&limit=1.5", 'invalid parameter "limit": strconv.Atoi: parsing "1.5": '
         "invalid syntax"),
        (f"{QUERY}?query=1&lookback_delta=abc", "error parsing lookback delta duration: cannot "
         'parse "abc" to a valid duration'),
        (f"{QUERY}?query=sum(", 'invalid parameter "query": 1:5: parse error: unclosed left '
         "parenthesis"),
        (f"{RANGE}?query=1", 'invalid parameter "start": cannot parse "" to a valid timestamp'),
        (f"{RANGE}?query=1&start=1", 'invalid parameter "end": cannot parse "" to a valid '
         "timestamp"),
        (f"{RANGE}?query=1&start=1&end=2", 'invalid parameter "step": cannot parse "" to a valid '
         "duration"),
        (f"{RANGE}?start=1&end=2&step=1", 'invalid parameter "query": unknown position: parse '
         "error: no expression found in input"),
        (f"{RANGE}?query=1&start=1&end=2&step=0", NOT_POSITIVE),
        (f"{RANGE}?query=1&start=1&end=2&step=-1", NOT_POSITIVE),
        (f"{RANGE}?query=1&start=1&end=2&step=NaN", NOT_POSITIVE),
        (f"{RANGE}?query=1&start=1&end=2&step=Inf", 'invalid parameter "step": cannot parse "Inf" '
         "to a valid duration. It overflows int64"),
        (f"{RANGE}?query=1&start=3&end=2&step=1", 'invalid parameter "end": end timestamp must '
         "not be before start time"),
        (f"{RANGE}?query=1&start=0&end=11001&step=1", EXCEEDED),
        (f"{RANGE}?query=1&start=NaN&end=2&step=1", EXCEEDED),
        (f"{RANGE}?query=%22a%22&start=1&end=2&step=1", 'invalid parameter "query": invalid '
         'expression type "string" for range query, must be Scalar or instant Vector'),
        (f"{RANGE}?query=a[1m]&start=1&end=2&step=1", 'invalid parameter "query": invalid '
         'expression type "range vector" for range query, must be Scalar or instant Vector'),
    ],
)  # fmt: skip
def test_bad_requests_get_prometheus_words(api, path, error):
    reply = api.ask("GET", path)
    assert reply.status == 400
    assert reply.json == {"status": "error", "errorType": "bad_data", "error": error}


@pytest.mark.parametrize(
    ("points", "status"), [pytest.param(11_000, 200), pytest.param(11_001, 400)]
)
def test_the_limit_on_points_is_exact(api, points, status):
    path = f"{RANGE}?query=1&start=0&end={points}&step=1"
    assert api.ask("GET", path).status == status


def test_a_step_below_a_millisecond_is_an_execution_error(api):
    reply = api.ask("GET", f"{RANGE}?query=1&start=0&end=0.1&step=0.0001")
    assert (reply.status, reply.json["errorType"]) == (422, "execution")


@pytest.mark.parametrize(
    ("path", "form"),
    [
        pytest.param(QUERY, {"query": "up", "time": "1"}, id="all in the form"),
        pytest.param(f"{QUERY}?query=up", {"time": "1"}, id="some in the URL"),
        pytest.param(f"{QUERY}?query=1&time=1", {"query": "up"}, id="the form comes first"),
        pytest.param(f"{QUERY}?query=up&time=1&stats=&limit=&timeout=", {}, id="empty is absent"),
        pytest.param(f"{QUERY}?query=up&time=1&foo=bar&a;b=c&x=%zz", {}, id="unknown is ignored"),
    ],
)
def test_url_and_form_are_merged(loaded, path, form):
    reply = loaded.ask("POST", path, data=form)
    assert len(reply.json["data"]["result"]) == 2


def test_multipart_forms_are_taken(loaded):
    body = b'--b\r\nContent-Disposition: form-data; name="query"\r\n\r\n1e21\r\n--b--\r\n'
    headers = {"Content-Type": 'multipart/form-data; boundary="b"'}
    reply = loaded.ask("POST", "/api/v1/query?time=1", data=body, headers=headers)
    assert reply.json["data"]["result"] == [1, "1000000000000000000000"]
    headers["Content-Type"] = "multipart/form-data"
    assert loaded.ask("POST", "/api/v1/query?time=1", data=body, headers=headers).status == 400


def test_a_range_beyond_all_times_has_no_series(loaded):
    path = "/api/v1/query_range?query=1&start=1&end=9999-12-31T23:59:59Z&step=1e9"
    assert loaded.ask("GET", path).json["data"] == {"resultType": "matrix", "result": []}


def test_a_query_of_megabytes_is_refused_at_once(loaded):
    for path in ("query", "query_exemplars?start=0&end=1", "format_query", "parse_query"):
        body = io.BytesIO(b"query=" + b"(" * (9 << 20))
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        reply = loaded.ask("POST", f"/api/v1/{path}", data=body, headers=headers)
        assert reply.status == 400
        assert reply.json["error"].endswith("query is longer than 1048576 characters")


def test_text_that_is_no_utf_8_is_told_back_all_the_same(loaded):
    headers = {"Content-Type": "a/b\udcff"}
    reply = loaded.ask("POST", "/api/v1/write", data=b"", headers=headers)
    assert (reply.status, "a/b" in reply.text) == (415, True)


def test_other_bodies_are_not_read(loaded):
    headers = {"Content-Type": "application/json"}
    reply = loaded.ask("POST", QUERY, data=b'{"query":"up"}', headers=headers)
    assert "no expression found in input" in reply.json["error"]
    reply = loaded.ask("POST", f"{QUERY}?query=up&time=1&step=300s", data=b"", headers=headers)
    assert len(reply.json["data"]["result"]) == 2


def test_what_the_engine_is_asked(api):
    asked = []
    api.engine.close()
    api.engine = ScriptedEngine(lambda **call: asked.append(call) or scalar())
    api.ask_all(
        [
            ("GET", f"{QUERY}?query=a&time=1.5&timeout=2s&lookback_delta=90s", {}),
            ("GET", f"{QUERY}?query=b&time=1&timeout=1000&lookback_delta=-1", {}),
            ("GET", f"{QUERY}?query=c", {}),
            ("GET", f"{RANGE}?query=d&start=1&end=2&step=500ms", {}),
        ]
    )
    first, second, third, fourth = asked
    assert (first["query"], first["time_ms"], first["lookback_ms"]) == ("a", 1500, 90_000)
    assert 1.5 < first["timeout_s"] <= 2
    assert second["timeout_s"] <= api.options.query_timeout_s
    assert second["lookback_ms"] is None
    assert third["time_ms"] == 1_795_470_000_000
    assert (fourth["start_ms"], fourth["end_ms"], fourth["step_ms"]) == (1000, 2000, 500)


@pytest.mark.parametrize(
    ("raised", "status", "error_type", "text"),
    [
        (ExecutionError("no <good>"), 422, "execution", "no <good>"),
        (TooManySamplesError(), 422, "execution",
         "query processing would load too many samples into memory in query execution"),
        (CanceledError(), 499, "canceled", "query was canceled in query execution"),
        (MemoryError("secret"), 500, "internal", "unexpected error: MemoryError"),
        (KeyError("secret"), 500, "internal", "unexpected error: KeyError"),
    ],
)  # fmt: skip
def test_errors_of_the_engine(api, caplog, raised, status, error_type, text):
    def fail(**_call):
        raise raised

    api.engine.close()
    api.engine = ScriptedEngine(fail)
    reply = api.ask("GET", f"{QUERY}?query=1")
    assert reply.status == status
    assert reply.json == {"status": "error", "errorType": error_type, "error": text}
    assert ("unexpected error answering" in caplog.text) == (status == 500)


def test_a_timeout_of_zero_is_over_at_once(api):
    reply = api.ask("GET", f"{QUERY}?query=1&timeout=0")
    assert reply.status == 503
    assert reply.json["error"] in (
        "query timed out in query execution",
        "query timed out in query queue",
    )


def test_limit_cuts_and_says_so(loaded):
    one, two, all_of_it = loaded.ask_all(
        [("GET", f"{QUERY}?query=up&time=1&limit={limit}", {}) for limit in (1, 2, 0)]
    )
    assert len(one.json["data"]["result"]) == 1
    assert one.json["warnings"] == ["results truncated due to limit"]
    assert len(two.json["data"]["result"]) == len(all_of_it.json["data"]["result"]) == 2
    assert "warnings" not in two.json
    for path in (f"{RANGE}?query=up&start=0&end=60&step=30", f"{QUERY}?query=up[1m]&time=30"):
        reply = loaded.ask("GET", f"{path}&limit=1")
        assert len(reply.json["data"]["result"]) == 1
        assert reply.json["warnings"] == ["results truncated due to limit"]


def test_stats_are_shown_when_asked_for(loaded):
    reply = loaded.ask("GET", f"{QUERY}?query=up&time=1&stats=true")
    stats = reply.json["data"]["stats"]
    assert list(stats["timings"]) == [
        "evalTotalTime", "resultSortTime", "queryPreparationTime", "innerEvalTime",
        "execQueueTime", "execTotalTime",
    ]  # fmt: skip
    assert stats["samples"]["totalQueryableSamples"] == 2


def test_warnings_and_infos_come_after_the_data(api):
    api.engine.close()
    api.engine = ScriptedEngine(lambda **_: scalar(warnings=["w"], infos=["i<"]))
    reply = api.ask("GET", f"{QUERY}?query=1")
    assert reply.text.endswith('"1"]},"warnings":["w"],"infos":["i\\u003c"]}')


@pytest.mark.parametrize(
    ("offer", "encoding", "unpack"),
    [
        ("gzip", "gzip", gzip.decompress),
        ("gzip, deflate, br, zstd", "gzip", gzip.decompress),
        ("deflate, gzip", "deflate", zlib.decompress),
        ("br, zstd", None, bytes),
        ("gzip;q=0", None, bytes),
    ],
)
def test_compression_follows_the_clients_offer(loaded, offer, encoding, unpack):
    long = "x" * 2000
    paths = (f"{QUERY}?query='{long}'", f"{QUERY}?time={long}", f"/api/v1/labels?{long}")
    loaded.storage.add({"__name__": "up", long: "1"}, {1000: 1.0})
    for path in paths:
        reply = loaded.ask("GET", path, headers={"Accept-Encoding": offer})
        assert reply.headers.get("Content-Encoding") == encoding
        body = unpack(reply.body)
        assert json.loads(body)["status"] in ("success", "error")
        assert len(body) > 1000


def test_small_replies_are_sent_as_they_are(loaded):
    reply = loaded.ask("GET", f"{QUERY}?query=1", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in reply.headers
    assert int(reply.headers["Content-Length"]) == len(reply.body)


@pytest.mark.parametrize("offer", ["identity", "gzip"])
def test_long_results_come_in_chunks(api, monkeypatch, offer):
    monkeypatch.setattr(json_writer, "CHUNK_BYTES", 4096)
    rows = [{"i": str(i)} for i in range(50)]
    labels = SeriesLabels.from_dicts(rows, QuerySymbols(None))
    values = np.random.default_rng(1).random((50, 100))
    steps = np.arange(100, dtype=np.int64) * 1000
    result = MatrixResult(steps, labels, values, np.ones((50, 100), dtype=np.bool_))
    api.engine.close()
    api.engine = ScriptedEngine(lambda **_: QueryResult(result, ["w"], [], QueryStats()))
    reply = api.ask("GET", f"{QUERY}?query=1", headers={"Accept-Encoding": offer})
    body = gzip.decompress(reply.body) if offer == "gzip" else reply.body
    assert reply.headers["Transfer-Encoding"] == "chunked"
    assert reply.headers["Vary"] == "Origin"
    got = json.loads(body)
    assert [float(v) for _, v in got["data"]["result"][49]["values"]] == values[49].tolist()
    assert got["warnings"] == ["w"]


# ------------------------------------------------------------------ exemplars and the parser


@pytest.mark.parametrize(
    ("query", "status", "data"),
    [
        pytest.param("query=test&start=1795466524000&end=1795466524000", 200, [],
                     id="a data source asks with milliseconds, in the year 50 000"),
        pytest.param("query=rate(a[5m])", 200, [], id="no exemplars are stored"),
        pytest.param("query=1", 204, None, id="no selector, no content"),
    ],
)  # fmt: skip
def test_exemplars(api, query, status, data):
    reply = api.ask("GET", f"/api/v1/query_exemplars?{query}")
    assert reply.status == status
    assert status == 204 or reply.json["data"] == data


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("query_exemplars?query=sum(", "1:5: parse error: unclosed left parenthesis"),
        ("query_exemplars?query=a&start=5&end=2",
         "end timestamp must not be before start timestamp"),
        ("format_query?query=sum(",
         'invalid parameter "query": 1:5: parse error: unclosed left parenthesis'),
        ("parse_query", 'invalid parameter "query": unknown position: parse error: no expression '
         "found in input"),
    ],
)  # fmt: skip
def test_their_errors(api, path, error):
    reply = api.ask("GET", f"/api/v1/{path}")
    assert (reply.status, reply.json["error"]) == (400, error)


def test_format_and_parse(api):
    formatted = api.ask("POST", "/api/v1/format_query", data={"query": "sum by(a)(b{c='<'})"})
    assert formatted.text == '{"status":"success","data":"sum by (a) (b{c=\\"\\u003c\\"})"}'
    tree = api.ask("GET", "/api/v1/parse_query?query=a%3Cb")
    assert tree.json["data"]["op"] == "<"
    assert b"<" not in tree.body


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.binary(max_size=40), min_size=8, max_size=8))
def test_random_bytes_never_fail_the_server(api, parts):
    def quoted(raw):
        return "".join(f"%{byte:02x}" for byte in raw)

    names = ["query", "time", "start", "end", "step", "limit", "match[]", "lookback_delta"]
    pairs = "&".join(f"{n}={quoted(raw)}" for n, raw in zip(names, parts, strict=True))
    odd = parts[0].decode("latin-1").replace("#", "").replace("\\", "")
    odd = "".join(char for char in odd if "!" <= char <= "~")
    requests = [
        ("GET", f"{path}?{pairs}", {})
        for path in (
            QUERY, RANGE, "/api/v1/query_exemplars", "/api/v1/format_query",
            "/api/v1/parse_query", "/api/v1/series", "/api/v1/labels", "/api/v1/metadata",
            "/api/v1/targets/metadata", "/api/v1/rules", "/api/v1/status/tsdb", "/federate",
            f"/api/v1/label/{quoted(parts[1])}/values", f"/{odd}",
        )
    ] + [
        ("POST", f"{QUERY}?{odd}", {
            "data": parts[2],
            "headers": {"Content-Type": "application/x-www-form-urlencoded"},
        }),
    ]  # fmt: skip
    for reply in api.ask_all(requests):
        assert reply.status < 500 or reply.status == 503, reply.text


def test_a_query_is_explained_instead_of_answered(loaded):
    plan = loaded.ask("GET", f"{QUERY}?query=sum(up)&time=1.5&explain=plan").json["data"]
    assert [node["text"] for node in plan["nodes"]] == ["sum", "up"]
    assert plan["nodes"][0]["measured"] is None
    assert plan["text"].startswith("steps  one, at 1970-01-01T00:00:01.500Z\n")
    asked = "query=up&start=1&end=61&step=30&explain=analyze"
    told = loaded.ask("GET", f"{RANGE}?{asked}").json["data"]
    assert (told["steps"], told["parts"]) == (3, 1)
    assert told["nodes"][0]["measured"]["points"] == 6


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ("query=up&explain=x", 'invalid parameter "explain": "x" is neither plan nor analyze'),
        (
            "query=up%2B&explain=plan",
            'invalid parameter "query": 1:4: parse error: unexpected end of input',
        ),
    ],
)
def test_explanations_that_cannot_be(loaded, asked, error):
    found = loaded.ask("GET", f"{QUERY}?{asked}")
    assert (found.status, found.json["errorType"]) == (400, "bad_data")
    assert found.json["error"] == error


@pytest.mark.parametrize(
    ("query", "status", "error"),
    [
        ("up", 422, "query resolution step widths below 1ms are not supported"),
        ("up[5m]", 400, 'invalid parameter "query": invalid expression type "range vector" for'),
        ("up%2B", 400, 'invalid parameter "query": 1:4: parse error: unexpected end of input'),
    ],
)
def test_a_step_that_is_too_short_is_told_after_what_is_wrong_with_the_query(
    loaded, query, status, error
):
    found = loaded.ask("GET", f"{RANGE}?query={query}&start=1&end=1&step=0.0001")
    assert found.status == status
    assert found.json["error"].startswith(error)
