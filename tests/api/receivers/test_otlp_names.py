"""Names by the four strategies, as OpenTelemetry's specification for Prometheus has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.receivers.otlp_names import STRATEGIES, BadNameError, Naming

ESCAPED, WHOLE, SHORT, PLAIN = (
    Naming(*STRATEGIES[name])
    for name in (
        "UnderscoreEscapingWithSuffixes",
        "NoUTF8EscapingWithSuffixes",
        "UnderscoreEscapingWithoutSuffixes",
        "NoTranslation",
    )
)


@pytest.mark.parametrize(
    ("name", "unit", "kind", "expected"),
    [
        pytest.param("http.server.duration", "s", "", "http_server_duration_seconds", id="unit"),
        pytest.param("a.seconds", "s", "", "a_seconds", id="a unit that is there"),
        pytest.param("flow", "By/s", "", "flow_bytes_per_second", id="by the second"),
        pytest.param("flow", "{req}/m", "", "flow_per_minute", id="annotations are no units"),
        pytest.param("flow", "/s", "", "flow_per_second", id="nothing by the second"),
        pytest.param("speed", "m/{x}", "", "speed_meters", id="by an annotation"),
        pytest.param("load", "1", "gauge", "load_ratio", id="a gauge of 1 is a ratio"),
        pytest.param("load", "1", "counter", "load_total", id="a counter of 1 is none"),
        pytest.param("total.hits", "", "counter", "hits_total", id="total moves to the end"),
        pytest.param("ratio.load", "1", "gauge", "load_ratio", id="ratio moves to the end"),
        pytest.param("2xx", "", "", "_2xx", id="a digit gets an underscore"),
        pytest.param("a__b..c", "", "", "a_b_c", id="underscores are joined"),
        pytest.param("m", "%", "gauge", "m_percent", id="percent"),
        pytest.param("m", "foo bar", "", "m_foo_bar", id="an unknown unit is cleaned"),
        pytest.param("job:m", "", "", "job:m", id="colons stay"),
    ],
)
def test_escaped_with_suffixes(name, unit, kind, expected):
    assert ESCAPED.metric(name, unit, counter=kind == "counter", gauge=kind == "gauge") == expected


@pytest.mark.parametrize(
    ("name", "unit", "kind", "expected"),
    [
        pytest.param("a.b", "s", "", "a.b_seconds", id="unit"),
        pytest.param("a.seconds", "s", "", "a.seconds", id="a unit that is there"),
        pytest.param("é", "By/s", "counter", "é_bytes_per_second_total", id="all suffixes"),
        pytest.param("a.total", "", "counter", "a_total", id="total is put anew"),
        pytest.param("a", "1", "gauge", "a_ratio", id="ratio"),
    ],
)
def test_unescaped_with_suffixes(name, unit, kind, expected):
    assert WHOLE.metric(name, unit, counter=kind == "counter", gauge=kind == "gauge") == expected


@pytest.mark.parametrize(
    ("naming", "name", "expected"),
    [
        pytest.param(SHORT, "a.b__c", "a_b__c", id="escaped without suffixes"),
        pytest.param(SHORT, ".1.", "_1", id="a digit"),
        pytest.param(PLAIN, "a.b é", "a.b é", id="not translated"),
    ],
)
def test_without_suffixes(naming, name, expected):
    assert naming.metric(name, "s", counter=True, gauge=False) == expected


@pytest.mark.parametrize(
    ("naming", "name", "expected"),
    [
        pytest.param(ESCAPED, "http.method", "http_method", id="dots"),
        pytest.param(ESCAPED, "1st", "key_1st", id="a digit"),
        pytest.param(ESCAPED, "_a", "key_a", id="an underscore"),
        pytest.param(ESCAPED, "__a", "__a", id="two underscores"),
        pytest.param(Naming(underscore_labels_get_key=False), "_a", "_a", id="left alone"),
        pytest.param(Naming(keep_underscores=False), "a..b", "a_b", id="underscores joined"),
        pytest.param(WHOLE, "http.method", "http.method", id="unescaped"),
    ],
)
def test_labels(naming, name, expected):
    assert naming.label(name) == expected


@pytest.mark.parametrize("name", ["", "...", "é"])
def test_names_of_which_nothing_is_left(name):
    with pytest.raises(BadNameError, match="normalization for metric"):
        ESCAPED.metric(name, "", counter=False, gauge=False)


@given(st.text(max_size=8), st.text(alphabet="smBy/{}% _1", max_size=6), st.booleans())
def test_escaped_names_are_of_the_old_alphabet(name, unit, flag):
    for naming in (ESCAPED, SHORT):
        try:
            made = naming.metric(name, unit, counter=flag, gauge=not flag)
        except BadNameError:
            continue
        assert made[0] not in "0123456789"
        assert all(c.isascii() and (c.isalnum() or c in "_:") for c in made)
