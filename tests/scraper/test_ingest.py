import gzip
import json
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scraper.fetch import FetchError, Response, read_or_refuse
from scraper.ingest import TargetIngest
from scraper.job import RelabelAction, RelabelRule, ScrapeJob, ScrapeLimits
from scraper.labelling import Labelling
from scraper.outcome import Body
from scraper.relabel import compile_rules
from scraper.tokens import ParseError
from tests.conftest import corpora_root
from tests.scraper.conftest import FakeAppender
from tsdb.interface import AppendStatus

CORPUS = corpora_root() / "exposition"
REPORT = {
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
}
CAPTURED_S = 1_795_467_000
TARGET = {"job": "j", "instance": "i"}


class Target:
    """An ingest with a clock of its own, one second a scrape."""

    def __init__(self, appender, labels=TARGET, **job):
        self.appender = appender
        self.job = ScrapeJob("j", **job)
        self.labels = labels
        labelling = Labelling(self.job, labels, compile_rules(self.job.metric_relabel_rules))
        self.ingest = TargetIngest(appender, labelling, timeout_ms=10_000)
        self.time_ms = 0

    def scrape(self, text, content_type="text/plain"):
        self.time_ms += 1000

        def read():
            if isinstance(text, Exception):
                raise text
            return Body(text.encode() if isinstance(text, str) else text, content_type)

        return self.ingest.store(self.time_ms, read, lambda: 0.25)

    def of(self, name, **labels):
        return self.appender.of(name, **labels)


@pytest.fixture
def target(appender):
    return Target(appender)


# ------------------------------------------------------------------------------------ corpus


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


# ------------------------------------------------------------------- report, markers, failure


def test_a_good_scrape_reports_itself(target):
    outcome = target.scrape("a 1\nb 2\n")
    assert outcome.error == ""
    assert (outcome.scraped, outcome.post_relabelling, outcome.series_added) == (2, 2, 2)
    assert target.of("up") == [(1000, 1)]
    assert target.of("scrape_duration_seconds") == [(1000, 0.25)]
    assert target.of("scrape_samples_scraped") == [(1000, 2)]
    assert target.of("scrape_samples_post_metric_relabeling") == [(1000, 2)]
    assert target.of("scrape_series_added") == [(1000, 2)]
    assert target.of("a", job="j", instance="i") == [(1000, 1)]
    assert target.of("scrape_timeout_seconds") == []


def test_extra_report_series(appender):
    target = Target(appender, extra_scrape_metrics=True, limits=ScrapeLimits(sample_limit=5))
    target.scrape("a 1\n")
    assert target.of("scrape_timeout_seconds") == [(1000, 10)]
    assert target.of("scrape_sample_limit") == [(1000, 5)]
    assert target.of("scrape_body_size_bytes") == [(1000, 4)]
    target.scrape(ParseError("refused"))
    assert target.of("scrape_body_size_bytes")[-1] == (2000, 0)
    too_large = FetchError("body size limit exceeded", body_too_large=True)
    outcome = target.ingest.store(3000, lambda: read_or_refuse(too_large, 1), lambda: 0)
    assert outcome.exceeded == "body_size"
    assert target.of("scrape_body_size_bytes")[-1] == (3000, -1)


def test_one_batch_a_scrape(target):
    target.scrape("a 1\nb 2\n")
    target.scrape("b 2\n")
    assert [batch[0].size for batch in target.appender.batches] == [2 + 5, 1 + 1 + 5]


def test_series_that_vanish_are_marked_stale_once(target):
    target.scrape("a 1\nb 2\n")
    target.scrape("b 3\n")
    target.scrape("b 4\n")
    assert target.of("a") == [(1000, 1), (2000, "stale")]
    assert target.of("b") == [(1000, 2), (2000, 3), (3000, 4)]
    target.scrape("a 5\nb 4\n")
    assert target.of("a")[-1] == (4000, 5)


def test_a_failed_scrape_marks_everything_stale_but_its_report(target):
    target.scrape("a 1\n")
    outcome = target.scrape("a 1\nb{ 2\n")
    assert outcome.error == 'expected label name, got "2" ("INVALID") while parsing: "b{ 2"'
    assert target.of("a") == [(1000, 1), (2000, "stale")]
    assert target.of("b") == []
    assert target.of("up") == [(1000, 1), (2000, 0)]
    assert target.of("scrape_samples_scraped")[-1] == (2000, 1)
    assert target.of("scrape_series_added")[-1] == (2000, 0)
    target.scrape("a 2\n")
    assert target.of("a")[-1] == (3000, 2)
    assert target.of("scrape_series_added")[-1] == (3000, 0)


def test_an_empty_body_is_good_whatever_its_type(target):
    target.scrape("a 1\n")
    assert target.scrape("", content_type="").error == ""
    assert target.of("a")[-1] == (2000, "stale")
    assert target.of("up")[-1] == (2000, 1)


def test_the_end_marks_everything_report_included(target):
    target.scrape("a 1\n")
    target.ingest.end(5000)
    assert target.of("a")[-1] == (5000, "stale")
    assert target.of("up")[-1] == (5000, "stale")


def test_two_texts_of_one_series_are_one_series(target):
    target.scrape('a{x="1",y="2"} 1\n')
    target.scrape('a{y="2",x="1"} 2\n')
    assert target.of("a") == [(1000, 1), (2000, 2)]


def test_another_labelling_keeps_continuity(target):
    target.scrape("a 1\nb 2\n")
    rules = compile_rules([RelabelRule(RelabelAction.DROP, ("__name__",), regex="a")])
    target.ingest = target.ingest.relabelled(
        Labelling(target.job, TARGET, rules), timeout_ms=10_000
    )
    target.scrape("a 1\nb 3\n")
    assert target.of("a") == [(1000, 1), (2000, "stale")]
    assert target.of("b") == [(1000, 2), (2000, 3)]


def test_order_may_change_and_series_come_and_go(target):
    rng = np.random.default_rng(1)
    expected = {}
    before = set()
    for scrape in range(30):
        shown = rng.permutation(60)[: rng.integers(1, 60)]
        target.scrape("".join(f'm{{n="{n}"}} {scrape}\n' for n in shown))
        for n in shown:
            expected.setdefault(n, []).append((target.time_ms, scrape))
        for n in before - set(shown.tolist()):
            expected[n].append((target.time_ms, "stale"))
        before = set(shown.tolist())
    for n, samples in expected.items():
        assert target.of("m", n=str(n)) == samples


# -------------------------------------------------------------------------------- duplicates


def test_a_series_twice_in_one_scrape_the_first_stays(target):
    for _ in range(2):
        outcome = target.scrape("a 1\na 2\na 1\n")
        assert (outcome.scraped, outcome.post_relabelling, outcome.duplicates) == (3, 3, 2)
        assert outcome.error == ""
    assert target.of("a") == [(1000, 1), (2000, 1)]


def test_two_texts_of_one_series_in_one_scrape_conflict(target):
    outcome = target.scrape('a{x="1",y="2"} 1\na{y="2",x="1"} 2\n')
    assert outcome.duplicates == 1
    assert target.of("a") == [(1000, 1)]


def test_explicit_times_are_kept_and_not_tracked(target):
    target.scrape("a 1 500\na 2 700\nb 1\n")
    target.scrape("b 1\n")
    assert target.of("a") == [(500, 1), (700, 2)]


def test_explicit_times_are_tracked_on_demand(appender):
    target = Target(appender, track_timestamps_staleness=True)
    target.scrape("a 1 500\n")
    target.scrape("b 1\n")
    assert target.of("a") == [(500, 1), (2000, "stale")]


def test_explicit_times_are_ignored_on_demand(appender):
    target = Target(appender, honor_timestamps=False)
    outcome = target.scrape("a 1 500\na 1 600\n")
    assert outcome.duplicates == 1
    assert target.of("a") == [(1000, 1)]


def test_times_far_ahead_are_out_of_bounds_and_the_scrape_is_good(target):
    outcome = target.scrape(f"a 1 {1000 + 600_001}\nb 1 {1000 + 600_000}\n")
    assert (outcome.error, outcome.out_of_bounds) == ("", 1)
    assert target.of("a") == []


# ------------------------------------------------------------------------ labels, relabelling


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


# -------------------------------------------------------------------------------------- limits


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


def test_failing_scrapes_with_varying_labels_do_not_grow_the_cache(appender):
    target = Target(appender, limits=ScrapeLimits(sample_limit=100))
    target.scrape("good 1\n")
    for n in range(12):
        lines = "".join(f'bad{{n="{n}_{k}"}} 1\n' for k in range(100))
        assert target.scrape(lines).error == ""
        assert target.scrape(lines + "x 1\ny{ 1\n").error != ""
    assert target.ingest.cache.count <= 1300


# ----------------------------------------------------------------------- refs that storage lost


def test_series_that_storage_forgot_are_resolved_again(target):
    target.scrape("a 1\nb 1\n")
    target.appender.forgotten.update(target.appender.refs.values())
    outcome = target.scrape("a 2\nb 2\n")
    assert outcome.error == ""
    latest = {
        dict(key)["__name__"]: samples[-1] for key, samples in target.appender.series().items()
    }
    for ref, labels in enumerate(target.appender.labels):
        if ref not in target.appender.forgotten:
            assert list(target.appender.samples[ref]) == [2000], labels
    assert latest["up"] == (2000, 1)
    target.scrape("a 3\n")
    newest = target.appender.refs[tuple(sorted({"__name__": "b", **TARGET}.items()))]
    assert list(target.appender.samples[newest]) == [2000, 3000]


def test_refusals_of_storage_are_counted(target):
    target.scrape("a 1\nb 1\n")
    answer = target.appender.append

    def refuse(refs, times, values, **more):
        statuses = answer(refs, times, values, **more)
        statuses[0], statuses[1] = AppendStatus.OUT_OF_ORDER, AppendStatus.OUT_OF_BOUNDS
        return statuses

    target.appender.append = refuse
    outcome = target.scrape("a 1\nb 1\n")
    assert (outcome.error, outcome.out_of_order, outcome.out_of_bounds) == ("", 1, 1)


def test_a_failing_storage_is_not_a_failed_target(target):
    def broken(*_, **__):
        raise OSError("disk full")

    target.appender.append = broken
    with pytest.raises(OSError, match="disk full"):
        target.scrape("a 1\n")


# -------------------------------------------------------------------------------------- bodies


def test_gzip_bodies_are_bounded(target):
    packed = gzip.compress(b"a 1\n" * 100_000)
    response = Response(packed, "text/plain", gzipped=True)
    assert len(response.read(0).text) == 400_000
    with pytest.raises(ParseError, match="body size limit exceeded"):
        response.read(399_999)
    assert len(Response(packed + packed, "text/plain", gzipped=True).read(0).text) == 800_000


@pytest.mark.parametrize(
    ("data", "error"),
    [
        pytest.param(b"a 1\n" * 9, "gzip: invalid header", id="plain text is no gzip"),
        pytest.param(b"a 1\n", "unexpected EOF", id="less than a header, as Go sees it"),
        pytest.param(gzip.compress(b"a 1\n" * 100)[:-9], "unexpected EOF", id="cut short"),
        pytest.param(gzip.compress(b"a 1\n")[:-8] + bytes(8), "gzip: invalid checksum", id="other"),
        pytest.param(
            gzip.compress(b"a 1\n")[:10] + b"\xff" * 30, "flate: corrupt input", id="no deflate"
        ),
        pytest.param(b"", "unexpected EOF", id="nothing at all"),
    ],
)
def test_damaged_gzip_is_refused(data, error):
    with pytest.raises(ParseError, match=re.escape(error)):
        Response(data, "text/plain", gzipped=True).read(0)


def test_metadata_is_forgotten_ten_scrapes_after_it_vanished(target):
    target.scrape("# HELP a first\n# TYPE a counter\na 1\n# TYPE b gauge\nb 1\n")
    for _ in range(10):
        target.scrape("# TYPE b gauge\nb 1\n")
    assert set(target.ingest.metadata.families) == {"a", "b"}
    assert target.ingest.metadata.families["a"].help == "first"
    target.scrape("# TYPE b gauge\nb 1\n")
    assert set(target.ingest.metadata.families) == {"b"}


@given(st.binary(max_size=2000), st.integers(1, 4000), st.booleans())
def test_what_is_packed_comes_out_as_it_was_or_is_too_large(text, size_max, twice):
    packed = gzip.compress(text * 50)
    expected = text * (100 if twice else 50)
    response = Response(packed + packed if twice else packed, "text/plain", gzipped=True)
    assert response.read(0).text == expected
    if len(expected) < size_max:
        assert response.read(size_max).text == expected
    else:
        with pytest.raises(ParseError, match="body size limit exceeded"):
            response.read(size_max)


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
