import gzip
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scraper.job import RelabelAction, RelabelRule, ScrapeLimits
from tests.conftest import corpora_root
from tests.scraper.conftest import FakeAppender
from tests.scraper.ingesting import REPORT, TARGET, Target

CORPUS = corpora_root() / "exposition"
CAPTURED_S = 1_795_467_000


@pytest.fixture
def target(appender):
    return Target(appender)


def corpus_cases():
    if not CORPUS.is_dir():
        return
    for name, entry in json.loads((CORPUS / "expected.json").read_text()).items():
        if "accepted" in entry:
            yield pytest.param(name, entry["content_type"], entry, id=name)
            continue
        yield pytest.param(name, entry["content_type"], entry["as_openmetrics"], id=f"{name} as OM")
        yield pytest.param(
            name, "text/plain; version=0.0.4", entry["as_text"], id=f"{name} as text"
        )


def api_form(one):
    """One histogram as the API shows it, (count, sum, buckets that are not empty)."""
    root = 2.0 ** (2.0 ** -int(one.schema[0]))
    buckets = []
    for index, count in zip(one.negative_index[::-1], one.negative_count[::-1], strict=True):
        buckets.append((1, -(root ** float(index)), -(root ** float(index - 1)), count))
    if one.zero_count[0]:
        edge = one.zero_threshold[0]
        buckets.append((3, -edge, edge, one.zero_count[0]))
    for index, count in zip(one.positive_index, one.positive_count, strict=True):
        buckets.append((0, root ** float(index - 1), root ** float(index), count))
    return histogram(one.count[0], one.sum[0], [bucket for bucket in buckets if bucket[3]])


def histogram(count, total, buckets):
    rows = tuple((int(rule), *(f"{float(x):.9g}" for x in rest)) for rule, *rest in buckets)
    return (float(count), float(total), rows)


def number(text):
    if isinstance(text, dict):
        return histogram(text["count"], text["sum"], text.get("buckets", ()))
    value = float(text.replace("Inf", "inf"))
    return "NaN" if math.isnan(value) else value


def exemplar_rows(appender):
    rows = appender.exemplars
    return sorted([sorted(s.items()), sorted(own.items()), v, t] for s, own, v, t in rows)


@pytest.mark.parametrize(("name", "content_type", "expected"), list(corpus_cases()))
def test_corpus_is_stored_as_prometheus_stores_it(name, content_type, expected, corpora, appender):
    target = Target(
        appender,
        labels={},
        honor_labels=True,
        honor_timestamps=False,
        scrape_native_histograms=True,
        always_scrape_classic_histograms=True,
    )
    outcome = target.scrape((corpora / "exposition" / name).read_bytes(), content_type)
    assert (not outcome.error) == expected["accepted"]
    assert outcome.error == expected.get("error", "")
    assert outcome.scraped == expected["samples_scraped"]
    stored = {
        frozenset(labels): "NaN" if math.isnan(samples[0][1]) else samples[0][1]
        for labels, samples in appender.series().items()
        if dict(labels)["__name__"] not in REPORT
    }
    if not expected["accepted"]:
        assert stored == {}
        return
    if "full" in expected:
        full = (corpora / "exposition" / expected["full"]).read_bytes()
        expected = expected | json.loads(gzip.decompress(full))
    native = {
        frozenset(appender.labels[ref].items()): api_form(samples[1000])
        for ref, samples in appender.histograms.items()
    }
    assert stored | native == {
        frozenset(labels.items()): number(value)
        for labels, value in expected["series"]
        if labels["__name__"] not in REPORT
    }
    if kept := expected.get("exemplars"):
        assert exemplar_rows(appender) == sorted(
            # One without a time of its own has that of the scrape, which was then.
            [
                sorted(series.items()),
                sorted(own.items()),
                number(value),
                1000 if float(time) > CAPTURED_S else round(1000 * float(time)),
            ]
            for series, own, value, time in kept
        )
    families = target.ingest.metadata.families.values()
    assert sorted([m.family, m.type, m.unit, m.help] for m in families) == sorted(
        expected["metadata"]
    )


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["captured/demo.om.txt", "captured/python-client-0.26.txt"]), st.data())
def test_a_damaged_body_is_stored_whole_or_not_at_all(name, data):
    if not CORPUS.is_dir():
        pytest.skip("no corpora")
    body = bytearray((CORPUS / name).read_bytes())
    kind = "application/openmetrics-text" if name.endswith(".om.txt") else "text/plain"
    target = Target(FakeAppender(), honor_timestamps=False)
    target.scrape(bytes(body), kind)
    for _ in range(data.draw(st.integers(0, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    body = body[: data.draw(st.integers(0, len(body)))]
    outcome = target.scrape(bytes(body), kind)
    second = [
        samples[-1][1]
        for labels, samples in target.appender.series().items()
        if samples[-1][0] == 2000 and dict(labels)["__name__"] not in REPORT
    ]
    stored = [value for value in second if value != "stale"]
    assert len(stored) == (0 if outcome.error else outcome.post_relabelling - outcome.duplicates)
    assert target.of("up")[-1] == (2000, 0 if outcome.error else 1)


@pytest.mark.parametrize(
    ("exposed", "target_labels", "honor", "expected"),
    [
        pytest.param("a", TARGET, False, TARGET, id="target labels are added"),
        pytest.param(
            'a{job="x"}', TARGET, False, TARGET | {"exported_job": "x"}, id="a conflict is moved"
        ),
        pytest.param(
            'a{job="x",exported_job="y"}',
            TARGET,
            False,
            TARGET | {"exported_job": "y", "exported_exported_job": "x"},
            id="and moved again where that name is taken",
        ),
        pytest.param(
            'a{foo="1",exported_foo="2"}',
            {"foo": "t", "exported_foo": "u"},
            False,
            {
                "foo": "t",
                "exported_foo": "u",
                "exported_exported_foo": "1",
                "exported_exported_exported_foo": "2",
            },
            id="shortest names first",
        ),
        pytest.param('a{job=""}', TARGET, False, TARGET, id="an empty label is none"),
        pytest.param(
            'a{job="x"}', TARGET, True, TARGET | {"job": "x"}, id="an honoured label stays"
        ),
        pytest.param(
            'a{instance=""}',
            TARGET,
            True,
            {"job": "j"},
            id="an honoured empty label keeps ours away",
        ),
    ],
)
def test_target_labels(exposed, target_labels, honor, expected, appender):
    Target(appender, labels=target_labels, honor_labels=honor).scrape(f"{exposed} 1\n")
    assert frozenset(({"__name__": "a"} | expected).items()) in appender.series()


def test_metric_relabelling_drops_and_renames_once_for_each_series(appender):
    rules = (
        RelabelRule(RelabelAction.DROP, ("__name__",), regex="drop.*"),
        RelabelRule(
            source_labels=("__name__",),
            regex="old(.*)",
            target_label="__name__",
            replacement="new$1",
        ),
    )
    target = Target(appender, metric_relabel_rules=rules)
    for _ in range(3):
        outcome = target.scrape("drop_me 1\nold_x 2\nkeep 3\n")
        assert (outcome.scraped, outcome.post_relabelling) == (3, 2)
    assert target.of("new_x") == [(1000, 2), (2000, 2), (3000, 2)]
    assert target.of("drop_me") == []
    assert appender.resolved == 2 + 5


def test_relabelling_may_not_leave_a_sample_without_name(appender):
    rules = (RelabelRule(target_label="__name__", replacement=""),)
    outcome = Target(appender, metric_relabel_rules=rules).scrape("a 1\n")
    assert outcome.error == "missing metric name (__name__ label)"


def test_what_a_refused_series_leaves_is_counted_up_to_it(appender):
    drop = (RelabelRule(RelabelAction.DROP, ("__name__",), regex="drop"),)
    target = Target(appender, metric_relabel_rules=drop)
    target.scrape("a 1\ndrop 1\n")
    outcome = target.scrape('a 1\ndrop 1\nb 1\nb 1\nc{x="1",x="2"} 1\nd 1\n')
    assert outcome.error == 'label name "x" is not unique: invalid sample'
    assert (outcome.scraped, outcome.post_relabelling) == (5, 3)


def test_legacy_names_only(appender):
    target = Target(appender, metric_name_validation_scheme="legacy")
    outcome = target.scrape('{"a.b"} 1\n')
    assert outcome.error == (
        'invalid metric name or label names: {__name__="a.b", instance="i", job="j"}'
    )


def test_buckets_and_quantiles_are_normalised_for_their_types_only(target):
    target.scrape(
        '# TYPE h histogram\nh_bucket{le="1"} 1\nh_bucket{le="1e6"} 1\n'
        '# TYPE g gauge\ng{le="1"} 1\n# TYPE s summary\ns{quantile="0.50"} 1\ns{le="1"} 1\n'
    )
    found = {
        (dict(key)["__name__"], dict(key).get("le"), dict(key).get("quantile"))
        for key in target.appender.series()
        if dict(key)["__name__"] in ("h_bucket", "g", "s")
    }
    assert found == {
        ("h_bucket", "1.0", None),
        ("h_bucket", "1e+06", None),
        ("g", "1", None),
        ("s", None, "0.5"),
        ("s", "1", None),
    }


@pytest.mark.parametrize(
    ("limits", "error", "exceeded"),
    [
        (ScrapeLimits(sample_limit=1), "sample limit exceeded", "sample"),
        (
            ScrapeLimits(label_limit=3),
            "label_limit exceeded (metric: metric, number of labels: 4, limit: 3)",
            "label",
        ),
        (
            ScrapeLimits(label_name_length_limit=7),
            "label_name_length_limit exceeded (metric: metric, label name: __name__, length: 8, "
            "limit: 7)",
            "label",
        ),
        (
            ScrapeLimits(label_value_length_limit=9),
            "label_value_length_limit exceeded (metric: metric, label name: long, value: "
            '"0123456789", length: 10, limit: 9)',
            "label",
        ),
    ],
)
def test_limits_fail_the_scrape_each_time(limits, error, exceeded, appender):
    target = Target(appender, limits=limits)
    for _ in range(2):
        outcome = target.scrape('metric{long="0123456789"} 1\nother 1\n')
        assert (outcome.error, outcome.exceeded) == (error, exceeded)
    assert target.of("metric") == []
    assert target.of("up") == [(1000, 0), (2000, 0)]


def test_the_sample_limit_counts_what_is_stored_and_creates_nothing_when_exceeded(appender):
    drop = (RelabelRule(RelabelAction.DROP, ("__name__",), regex="drop"),)
    target = Target(appender, limits=ScrapeLimits(sample_limit=2), metric_relabel_rules=drop)
    assert target.scrape("drop 1\na 1\na 1\nb 1\n").error == ""
    resolved = appender.resolved
    outcome = target.scrape("drop 1\na 1\nb 1\nc 1\n")
    assert (outcome.error, outcome.scraped) == ("sample limit exceeded", 4)
    assert appender.resolved == resolved
    assert target.of("a")[-1] == (2000, "stale")


def test_metadata_of_a_body_past_the_sample_limit_is_kept(appender):
    target = Target(appender, limits=ScrapeLimits(sample_limit=1))
    outcome = target.scrape("# TYPE a counter\n# HELP a text\na 1\nb 1\n")
    assert outcome.error == "sample limit exceeded"
    assert target.ingest.metadata.families["a"].help == "text"
    target.scrape("# TYPE a gauge\na 1\n")
    assert target.ingest.metadata.families["a"].type == "gauge"


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        pytest.param(
            RelabelRule(RelabelAction.LABELDROP, regex="x"), "", id="a double that is dropped"
        ),
        pytest.param(
            RelabelRule(RelabelAction.DROP, source_labels=("y",), regex="1"), "", id="a series"
        ),
        pytest.param(
            RelabelRule(RelabelAction.LABELDROP, regex="y"),
            'label name "x" is not unique: invalid sample',
            id="something else",
        ),
    ],
)
def test_a_double_label_matters_where_it_is_left(appender, rule, error):
    target = Target(appender, metric_relabel_rules=(rule,))
    assert target.scrape('a{x="1",x="2",y="1"} 1\n').error == error
