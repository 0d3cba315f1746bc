from __future__ import annotations

import dataclasses
import json
from urllib.parse import urlencode

import pytest

from api.search_score import JARO_WINKLER, SUBSEQUENCE, scorer

NOW_MS = 1_795_470_000_000
NAMES = ("heat", "http_requests_total", "http_responses_total", "up", "up_total")


@pytest.fixture
def filled(api):
    api.options = dataclasses.replace(api.options, search=True)
    for number, name in enumerate(NAMES):
        for instance in range(number + 1):
            labels = {"__name__": name, "instance": f"i{instance}", "job": "j"}
            api.storage.add(labels if number else {"__name__": name}, {NOW_MS: 1.0})
    return api


def ask(api, path, *pairs):
    reply = api.ask("GET", f"/api/v1/search/{path}?{urlencode(pairs)}")
    assert reply.status == 200, reply.text
    assert reply.headers["Content-Type"] == "application/x-ndjson; charset=utf-8"
    *batches, trailer = [json.loads(line) for line in reply.text.splitlines()]
    assert trailer["status"] == "success"
    return [batch["results"] for batch in batches], trailer["has_more"]


@pytest.mark.parametrize(
    ("pairs", "names"),
    [
        pytest.param([], list(NAMES), id="all, by the alphabet"),
        pytest.param([("search[]", "http")], list(NAMES[1:3]), id="a part of the name"),
        pytest.param([("search[]", "htrq")], ["http_requests_total"], id="letters in their order"),
        pytest.param([("search[]", "UP")], [], id="capitals count"),
        pytest.param(
            [("search[]", "UP"), ("case_sensitive", "false")], ["up", "up_total"], id="or not"
        ),
        pytest.param([("search[]", "heat"), ("search[]", "up")], ["heat", "up", "up_total"],
                     id="any of several"),
        pytest.param([("match[]", '{instance="i4"}')], ["up_total"], id="of chosen series"),
        pytest.param(
            [("search[]", "total"), ("sort_by", "score")],
            ["up_total", "http_requests_total", "http_responses_total"],
            id="the best first",
        ),
        pytest.param(
            [("sort_by", "alpha"), ("sort_dir", "dsc")], list(reversed(NAMES)), id="backwards"
        ),
        pytest.param(
            [("search[]", "hppt_requests"), ("fuzz_alg", "jarowinkler"), ("fuzz_threshold", "80")],
            ["http_requests_total"],
            id="with a mistake in it",
        ),
    ],
)  # fmt: skip
def test_metric_names_are_found(filled, pairs, names):
    batches, more = ask(filled, "metric_names", *pairs)
    assert [row["name"] for batch in batches for row in batch] == names
    assert not more


def test_a_limit_tells_that_there_is_more_and_batches_are_lines(filled):
    batches, more = ask(filled, "metric_names", ("limit", "3"), ("batch_size", "2"))
    assert [[row["name"] for row in batch] for batch in batches] == [list(NAMES[:2]), [NAMES[2]]]
    assert more
    assert ask(filled, "metric_names", ("search[]", "nothing")) == ([[]], False)


def test_counts_scores_and_metadata_are_added_on_demand(filled):
    pairs = [("sort_by", "cardinality"), ("sort_dir", "dsc"), ("limit", "1")]
    batches, _ = ask(filled, "metric_names", *pairs, ("include_metadata", "true"))
    assert batches == [
        [{"name": "up_total", "cardinality": 5, "type": "counter", "help": "How <often>."}]
    ]
    batches, _ = ask(
        filled, "label_names", ("include_frequency", "true"), ("include_cardinality", "true")
    )
    assert batches == [
        [
            {"name": "__name__", "frequency": 15, "cardinality": 5},
            {"name": "instance", "frequency": 14, "cardinality": 5},
            {"name": "job", "frequency": 14, "cardinality": 1},
        ]
    ]
    batches, _ = ask(
        filled, "label_values", ("label", "instance"), ("sort_by", "frequency"),
        ("limit", "2"), ("include_score", "true"),
    )  # fmt: skip
    assert batches == [
        [
            {"name": "i4", "score": 1.0, "frequency": 1},
            {"name": "i3", "score": 1.0, "frequency": 2},
        ]
    ]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("metric_names?sort_by=size", 'invalid sort_by "size" for metric_names: must be alpha, '
         "cardinality, or score"),
        ("metric_names?sort_dir=asc", "sort_dir is only valid when sort_by is set"),
        ("metric_names?sort_by=alpha&sort_dir=up", 'invalid sort_dir "up"'),
        ("metric_names?fuzz_threshold=101", 'invalid fuzz_threshold "101": must be 0-100'),
        ("metric_names?fuzz_alg=x", 'unsupported fuzz_alg "x"'),
        ("metric_names?limit=-1", 'invalid limit "-1": must be non-negative integer'),
        ("metric_names?case_sensitive=7", 'invalid case_sensitive "7": must be boolean'),
        ("label_values", 'missing required parameter "label"'),
    ],
)  # fmt: skip
def test_bad_parameters_are_told(filled, path, text):
    reply = filled.ask("GET", f"/api/v1/search/{path}")
    assert (reply.status, reply.json["errorType"]) == (400, "bad_data")
    assert text in reply.json["error"]


def test_without_the_feature_there_is_no_such_path(api):
    assert api.ask("GET", "/api/v1/search/metric_names").status == 404
    assert api.ask("GET", "/api/v1/features").json["data"]["api"]["search"] is False


@pytest.mark.parametrize("algorithm", [SUBSEQUENCE, JARO_WINKLER])
def test_the_name_itself_fits_best(algorithm):
    score = scorer(["up"], algorithm, 0.0, case_sensitive=True)
    assert score("up") == 1.0
    others = [score(name) or 0.0 for name in ("up_total", "group", "u_p", "heat")]
    assert others == sorted(others, reverse=True)
