import re

import pytest

from scraper.media_type import OPENMETRICS, PROTOBUF, TEXT, media_type
from scraper.tokens import ParseError


@pytest.mark.parametrize(
    ("content_type", "fallback", "expected"),
    [
        ("text/plain", "", TEXT),
        ("text/plain; version=0.0.4; charset=utf-8", "", TEXT),
        ("TEXT/PLAIN", "", TEXT),
        ("application/openmetrics-text; version=1.0.0", "", OPENMETRICS),
        ("application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily", "", PROTOBUF),
        ("", "PrometheusProto", PROTOBUF),
        ("", "PrometheusText0.0.4", TEXT),
        ("", "OpenMetricsText1.0.0", OPENMETRICS),
        ("text/html", "PrometheusText0.0.4", TEXT),
        ("text/", "PrometheusText0.0.4", TEXT),
        ("text/plain", "OpenMetricsText1.0.0", TEXT),
    ],
)
def test_content_types_that_are_read(content_type, fallback, expected):
    assert media_type(content_type, fallback) == expected


@pytest.mark.parametrize(
    ("content_type", "error"),
    [
        (
            "",
            "non-compliant scrape target sending blank Content-Type and no "
            "fallback_scrape_protocol specified for target",
        ),
        (
            "text/html",
            'received unsupported Content-Type "text/html" and no fallback_scrape_protocol '
            "specified for target",
        ),
    ],
)
def test_content_types_that_are_refused(content_type, error):
    with pytest.raises(ParseError, match=re.escape(error)):
        media_type(content_type)


@pytest.mark.parametrize(
    ("content_type", "fault"),
    [
        ("text/", "expected token after slash"),
        ("/plain", "no media type"),
        ("text plain", "expected slash after first token"),
        ("text/plain, text/html", "unexpected content after media subtype"),
        ("text/plain; x", "invalid media parameter"),
        ("text/plain;;", "invalid media parameter"),
        ("text/plain; a=b; a=c", "duplicate parameter name"),
    ],
)
def test_what_is_no_content_type_is_told_in_the_words_of_go(content_type, fault):
    with pytest.raises(ParseError) as caught:
        media_type(content_type)
    assert str(caught.value) == (
        f'cannot parse Content-Type "{content_type}" and no fallback_scrape_protocol for target'
        f"\nmime: {fault}"
    )


@pytest.mark.parametrize(
    "content_type",
    ["text/plain;", 'text/plain; a="b;c"', "text/plain;a=b;a=b", "text/plain ;A=b"],
)
def test_parameters_do_not_matter(content_type):
    assert media_type(content_type) == TEXT
