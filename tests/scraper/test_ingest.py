import numpy as np
import pytest

from scraper.fetch import FetchError, read_or_refuse
from scraper.job import RelabelAction, RelabelRule, ScrapeLimits
from scraper.labelling import Labelling
from scraper.relabel import compile_rules
from scraper.tokens import ParseError
from tests.scraper.ingesting import TARGET, Target
from tsdb.interface import AppendStatus


@pytest.fixture
def target(appender):
    return Target(appender)


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


def test_failing_scrapes_with_varying_labels_do_not_grow_the_cache(appender):
    target = Target(appender, limits=ScrapeLimits(sample_limit=100))
    target.scrape("good 1\n")
    for n in range(12):
        lines = "".join(f'bad{{n="{n}_{k}"}} 1\n' for k in range(100))
        assert target.scrape(lines).error == ""
        assert target.scrape(lines + "x 1\ny{ 1\n").error != ""
    assert target.ingest.cache.count <= 1300


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


def test_metadata_is_forgotten_ten_scrapes_after_it_vanished(target):
    target.scrape("# HELP a first\n# TYPE a counter\na 1\n# TYPE b gauge\nb 1\n")
    for _ in range(10):
        target.scrape("# TYPE b gauge\nb 1\n")
    assert set(target.ingest.metadata.families) == {"a", "b"}
    assert target.ingest.metadata.families["a"].help == "first"
    target.scrape("# TYPE b gauge\nb 1\n")
    assert set(target.ingest.metadata.families) == {"b"}
