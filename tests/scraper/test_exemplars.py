import pytest

from scraper.exemplar_text import Exemplar, read_exemplar
from tests.scraper.ingesting import Target

OM = "application/openmetrics-text; version=1.0.0"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(b"{} 1", Exemplar({}, 1.0, None), id="no labels, no time"),
        pytest.param(
            b'{a="b\\n",c="\\"d\\\\"} -0.5 1520879607.789',
            Exemplar({"a": r"b\n", "c": r"\"d\\"}, -0.5, 1520879607789),
            id="escapes, which stay as Prometheus leaves them, and a time",
        ),
        pytest.param(b"{} 1 1e16", Exemplar({}, 1.0, -(1 << 63)), id="a time past 64 bits"),
        pytest.param(b"{} 1 1e308", Exemplar({}, 1.0, -(1 << 63)), id="a time past all floats"),
    ],
)
def test_an_exemplar_is_read(text, expected):
    assert read_exemplar(text) == expected


def test_exemplars_are_stored_once_with_the_labels_of_their_series(appender):
    target = Target(appender)
    body = '# TYPE a counter\na_total{x="y"} 3 # {trace="1"} 0.5\na_total{x="z"} 3\n# EOF\n'
    assert target.scrape(body, OM).error == ""
    target.scrape(body, OM)
    series = {"__name__": "a_total", "x": "y", "job": "j", "instance": "i"}
    assert appender.exemplars == [(series, {"trace": "1"}, 0.5, 1000)]
    target.scrape(body.replace('"1"', '"2"'), OM)
    assert appender.exemplars[1:] == [(series, {"trace": "2"}, 0.5, 3000)]


def test_a_refused_body_stores_no_exemplar(appender):
    target = Target(appender)
    outcome = target.scrape('# TYPE a counter\na_total 3 # {trace="1"} 0.5\nb{\n# EOF\n', OM)
    assert outcome.error
    assert appender.exemplars == []


@pytest.mark.parametrize("time", ["1e16", "-1e16", "1e308", "-1e308"])
def test_a_time_that_no_clock_shows_costs_no_scrape(appender, time):
    body = f'# TYPE a counter\na_total 3 # {{trace="1"}} 0.5 {time}\nb 1 {time}\nc 1\n# EOF\n'
    assert Target(appender).scrape(body, OM).error == ""
    assert appender.of("c")
