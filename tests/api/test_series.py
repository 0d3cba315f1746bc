"""Label endpoints and federation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from api.series import unescape_name
from api.views import ApiOptions
from tsdb.staleness import STALE_NAN

NOW_MS = 1_795_470_000_000


@pytest.fixture
def loaded(api):
    api.storage.add({"__name__": "up", "job": "a", "zone": "<x>"}, {1000: 1.0})
    api.storage.add({"__name__": "up", "job": "b"}, {2000: 1.0})
    api.storage.add({"__name__": "http.requests", "http.status": "200"}, {3000: 1.0})
    return api


@pytest.mark.parametrize(
    ("path", "data"),
    [
        pytest.param("labels", ["__name__", "http.status", "job", "zone"], id="all names"),
        pytest.param("labels?match[]=up", ["__name__", "job", "zone"], id="names that match"),
        pytest.param(
            "labels?match[]=up{job=%22b%22}&match[]={%22http.requests%22}",
            ["__name__", "http.status", "job"],
            id="names of either set",
        ),
        pytest.param("labels?start=2.5", ["__name__", "http.status"], id="names since a time"),
        pytest.param("labels?start=5&end=2", [], id="no time at all"),
        pytest.param("labels?start=-1&end=NaN", [], id="odd times are times"),
        pytest.param("label/job/values", ["a", "b"], id="values"),
        pytest.param("label/job/values?match[]=up{job!=%22a%22}", ["b"], id="values that match"),
        pytest.param("label/nope/values", [], id="a name nobody has"),
        pytest.param("label/http.status/values", ["200"], id="a name with a dot"),
        pytest.param("label/U__http_2e_status/values", ["200"], id="the same, escaped"),
        pytest.param("label/0bad/values", [], id="any text is a name"),
        pytest.param("label/%20/values", [], id="even a blank"),
        pytest.param(
            "series?match[]=up",
            [{"__name__": "up", "job": "a", "zone": "<x>"}, {"__name__": "up", "job": "b"}],
            id="series",
        ),
        pytest.param("series?match[]=nope", [], id="no series"),
        pytest.param("series?match[]=up&start=9&end=5", [], id="series of no time"),
        pytest.param(
            "series?match[]=up&start=-292273086-05-16T16:47:06Z"
            "&end=292277025-08-18T07:12:54.999999999Z&limit=40000",
            [{"__name__": "up", "job": "a", "zone": "<x>"}, {"__name__": "up", "job": "b"}],
            id="series of all time, as client_golang spells it",
        ),
    ],
)
def test_answers(loaded, path, data):
    reply = loaded.ask("GET", f"/api/v1/{path}")
    assert (reply.status, reply.json) == (200, {"status": "success", "data": data})


@pytest.mark.parametrize("path", ["labels", "series"])
def test_forms_are_taken_too(loaded, path):
    reply = loaded.ask("POST", f"/api/v1/{path}?match[]=nope", data={"match[]": "up"})
    assert len(reply.json["data"]) in (2, 3)


def test_label_text_is_escaped_as_prometheus_does(loaded):
    values, series = loaded.ask_all(
        [("GET", "/api/v1/label/zone/values", {}), ("GET", "/api/v1/series?match[]=up", {})]
    )
    assert values.text == '{"status":"success","data":["\\u003cx\\u003e"]}'
    assert '"zone":"<x>"' in series.text


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("labels?match[]=", "unknown position: parse error: unexpected end of input"),
        ("labels?match[]={}", "match[] must contain at least one non-empty matcher"),
        ("labels?match[]={a=~%22.*%22}", "match[] must contain at least one non-empty matcher"),
        ("labels?match[]=sum(x)", '1:4: parse error: unexpected "("'),
        ("labels?match[]=foo[5m]", '1:4: parse error: unexpected "["'),
        ("labels?match[]=foo{", "1:5: parse error: unexpected end of input inside braces"),
        ("labels?match[]=1", '1:1: parse error: unexpected number "1"'),
        ("labels?match[]=foo+offset+5m", "1:5: parse error: unexpected <offset>"),
        ("labels?match[]=a+b", '1:3: parse error: unexpected identifier "b"'),
        ("labels?end=abc", "invalid parameter \"end\": invalid time value for 'end': cannot parse "
         '"abc" to a valid timestamp'),
        ("labels?limit=abc", 'invalid parameter "limit": strconv.Atoi: parsing "abc": invalid '
         "syntax"),
        ("label/job/values?start=x", "invalid parameter \"start\": invalid time value for "
         "'start': cannot parse \"x\" to a valid timestamp"),
        ("label/U__/values", 'invalid label name: ""'),
        ("label/%ff/values", 'invalid label name: "\\xff"'),
        ("labels?limit=99999999999999999999", 'invalid parameter "limit": strconv.Atoi: parsing '
         '"99999999999999999999": value out of range'),
        ("series", "no match[] parameter provided"),
        ("series?match[]=up&a=%zz", 'error parsing form values: invalid URL escape "%zz"'),
        ("series?match[]=up;b", "error parsing form values: invalid semicolon separator in query"),
        ("series?match[]=", 'invalid parameter "match[]": unknown position: parse error: '
         "unexpected end of input"),
        ("series?match[]={}", 'invalid parameter "match[]": match[] must contain at least one '
         "non-empty matcher"),
    ],
)  # fmt: skip
def test_bad_requests_get_prometheus_words(api, path, error):
    reply = api.ask("GET", f"/api/v1/{path}")
    assert reply.status == 400
    assert reply.json == {"status": "error", "errorType": "bad_data", "error": error}


@pytest.mark.parametrize(
    ("path", "count"), [("labels", 4), ("label/job/values", 2), ("series?match[]=up", 2)]
)
def test_limits_cut_and_say_so(loaded, path, count):
    separator = "&" if "?" in path else "?"
    cut, whole, none = loaded.ask_all(
        [("GET", f"/api/v1/{path}{separator}limit={n}", {}) for n in (1, count, 0)]
    )
    assert len(cut.json["data"]) == 1
    assert cut.json["warnings"] == ["results truncated due to limit"]
    assert len(whole.json["data"]) == len(none.json["data"]) == count
    assert "warnings" not in whole.json


@pytest.mark.parametrize(
    ("escaped", "name"),
    [
        ("U__http_2e_status", "http.status"),
        ("U__a__b", "a_b"),
        ("U___", "U___"),
        ("U__a_b", "U__a_b"),
        ("U___1F600_", "😀"),
        ("U___d800_", "U___d800_"),
        ("U___ffffff_", "U___ffffff_"),
        ("plain", "plain"),
    ],
)
def test_escaped_names(escaped, name):
    assert unescape_name(escaped) == name


# ------------------------------------------------------------------ federation


def test_federation_gives_the_newest_samples_sorted(api):
    stale = float.fromhex("nan")
    api.storage.add({"__name__": "up", "job": "b\n", "instance": "i"}, {NOW_MS - 5: 1e11 / 3})
    api.storage.add({"__name__": "up", "job": "a"}, {NOW_MS - 9: 1.0, NOW_MS - 2: stale})
    api.storage.add({"__name__": "http.up", "x.y": "é"}, {NOW_MS: math.inf})
    api.storage.add({"__name__": "old"}, {NOW_MS - 300_000: 1.0})
    api.options = ApiOptions(external_labels={"cluster": "c", "job": "never"})
    reply = api.ask("GET", "/federate?match[]={__name__=~%22.%2B%22}&match[]=up")
    assert reply.status == 200
    assert reply.headers["Content-Type"] == (
        "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
    )
    assert reply.text == (
        "# TYPE http_up untyped\n"
        f'http_up{{cluster="c",instance="",job="never",x_y="é"}} +Inf {NOW_MS}\n'
        "# TYPE up untyped\n"
        f'up{{cluster="c",instance="i",job="b\\n"}} 3.3333333333333332e+10 {NOW_MS - 5}\n'
        f'up{{cluster="c",instance="",job="a"}} NaN {NOW_MS - 2}\n'
    )


def test_federation_leaves_stale_series_out(api):
    api.storage.add({"__name__": "up"}, {NOW_MS - 1: np.float64(STALE_NAN)})
    assert api.ask("GET", "/federate?match[]=up").body == b""
    assert api.ask("GET", "/federate").body == b""


def test_federation_refuses_a_bad_selector_in_text(api):
    reply = api.ask("GET", "/federate?match[]={")
    assert (reply.status, reply.text) == (
        400,
        "1:2: parse error: unexpected end of input inside braces\n",
    )
