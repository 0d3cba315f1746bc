import asyncio
import contextlib
import json
import math
import subprocess
import urllib.request

import numpy as np
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from scraper.tokens import ParseError
from tests.end_to_end.processes import free_port, prometheus_3
from tests.scraper.conftest import FakeAppender, serve
from tests.scraper.ingesting import REPORT, Target
from tests.scraper.messages import exemplar, family, label, message, packed, spans
from tsdb.interface import CUSTOM_BUCKETS_SCHEMA
from tsdb.staleness import is_stale

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
PROTOBUF = (
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)


def shown(one):
    """One histogram as the API shows it: count, sum, and (lower, upper, count) of its buckets."""
    if one.schema[0] != CUSTOM_BUCKETS_SCHEMA:
        return "exponential"
    edges = [-math.inf, *one.bounds.tolist(), math.inf]
    rows = [
        (edges[index], edges[index + 1], count)
        for index, count in zip(one.positive_index.tolist(), one.positive_count, strict=True)
    ]
    return float(one.count[0]), float(one.sum[0]), [row for row in rows if row[2]]


def stored(target):
    """Name and labels to the histogram of the latest scrape, or "stale"; and those of floats."""
    appender, time_ms = target.appender, target.time_ms
    histograms = {}
    for ref, samples in appender.histograms.items():
        if time_ms in samples:
            one = samples[time_ms]
            stale = is_stale(one.sum)[0]
            histograms[key(appender.labels[ref])] = "stale" if stale else shown(one)
    floats = {
        key(dict(labels)): samples[-1][1]
        for labels, samples in appender.series().items()
        if samples[-1][0] == time_ms and dict(labels)["__name__"] not in REPORT
    }
    return histograms, floats


def key(labels):
    rest = ",".join(
        f"{name}={value}"
        for name, value in sorted(labels.items())
        if name not in ("__name__", "job", "instance")
    )
    return labels["__name__"] + (f"{{{rest}}}" if rest else "")


def converting(**job):
    return Target(FakeAppender(), convert_classic_histograms=True, **job)


WHOLE = """# TYPE a histogram
a_bucket{x="1",le="1"} 1
a_bucket{x="1",le="2.5"} 3
a_bucket{x="1",le="+Inf"} 4
a_sum{x="1"} 4.5
a_count{x="1"} 4
"""
WHOLE_SHOWN = (4.0, 4.5, [(-math.inf, 1.0, 1.0), (1.0, 2.5, 2.0), (2.5, math.inf, 1.0)])

CASES = [
    pytest.param(WHOLE, id="one that is whole"),
    pytest.param(WHOLE.replace('x="1",', "").replace('{x="1"}', ""), id="one without labels"),
    pytest.param(WHOLE + WHOLE.replace('x="1"', 'x="2"').split("\n", 1)[1], id="two of a family"),
    pytest.param(WHOLE.replace('a_bucket{x="1",le="+Inf"} 4\n', ""), id="no infinite bucket"),
    pytest.param(WHOLE.replace('a_count{x="1"} 4\n', ""), id="no count"),
    pytest.param(WHOLE.replace('a_sum{x="1"} 4.5\n', ""), id="no sum"),
    pytest.param("# TYPE a histogram\na_count 4\na_sum 2\n", id="no buckets"),
    pytest.param("# TYPE a histogram\na_sum 2\n", id="a sum alone"),
    pytest.param(WHOLE.replace("} 3", "} 0.5"), id="counts that fall"),
    pytest.param(WHOLE.replace('a_count{x="1"} 4', 'a_count{x="1"} 5'), id="another count"),
    pytest.param(
        WHOLE.replace("} 4", "} 4.5").replace("} 4.5.5", "} 4.5"), id="counts that are not whole"
    ),
    pytest.param(WHOLE.replace("} 1\n", "} -1\n"), id="a negative count"),
    pytest.param(WHOLE.replace("histogram", "gauge"), id="another type"),
    pytest.param(WHOLE.replace("# TYPE a ", "# TYPE b "), id="the type of another"),
    pytest.param(WHOLE.split("\n", 1)[1], id="no type"),
    pytest.param(WHOLE + "a_other 1\na 2\n", id="other series of the family"),
    pytest.param(WHOLE.replace('le="1"', 'le="x"'), id="a bound that is no number"),
    pytest.param(WHOLE.replace('x="1",le="1"', 'x="1"'), id="a bucket without a bound"),
    pytest.param(
        WHOLE.replace('a_bucket{x="1",le="2.5"} 3', 'a_bucket{le="2.5",x="1"} 3'),
        id="labels in another order",
    ),
    pytest.param(
        WHOLE.replace('a_bucket{x="1",le="1"} 1\n', "").replace(
            "a_sum", 'a_bucket{x="1",le="1"} 1\na_sum'
        ),
        id="buckets in another order",
    ),
    pytest.param(
        WHOLE.replace("} 1\n", "} 0\n").replace("} 3", "} 0"), id="buckets that are empty"
    ),
    pytest.param(WHOLE.replace("4.5\n", "NaN\n"), id="a sum that is no number"),
]


# Prometheus stores a histogram with a bucket that is no number; here it contradicts itself.
OURS = pytest.param(WHOLE.replace("} 1\n", "} NaN\n"), id="a count that is no number")


@pytest.mark.parametrize("text", [*CASES, OURS])
@pytest.mark.parametrize("keep", [False, True], ids=["classic ones go", "classic ones stay"])
def test_known_series_are_converted_like_new_ones(text, keep):
    target = converting(always_scrape_classic_histograms=keep)
    first = target.scrape(text)
    once = stored(target)
    again = target.scrape(text)
    np.testing.assert_equal(stored(target), once)
    assert (first.error, first.scraped) == (again.error, again.scraped)
    assert again.series_added == 0


def test_the_histogram_is_stored_and_its_parts_are_not():
    target = converting()
    outcome = target.scrape(WHOLE + "# TYPE g gauge\ng 1\n")
    assert stored(target) == ({"a{x=1}": WHOLE_SHOWN}, {"g": 1.0})
    assert (outcome.scraped, outcome.post_relabelling, outcome.series_added) == (2, 2, 2)
    assert not any(labels["__name__"].startswith("a_") for labels in target.appender.labels)


def test_the_parts_stay_where_they_are_wanted():
    target = converting(always_scrape_classic_histograms=True)
    outcome = target.scrape(WHOLE)
    histograms, floats = stored(target)
    assert histograms == {"a{x=1}": WHOLE_SHOWN}
    assert floats["a_bucket{le=2.5,x=1}"] == 3.0
    assert (len(floats), outcome.scraped) == (5, 6)


def test_markers_follow_what_is_gone_and_what_is_not_whole_any_more():
    target = converting()
    target.scrape(WHOLE)
    target.scrape(WHOLE.replace("} 3", "} 0.5"))
    assert stored(target)[0] == {"a{x=1}": "stale"}
    target.scrape(WHOLE)
    assert stored(target)[0] == {"a{x=1}": WHOLE_SHOWN}
    target.scrape("")
    assert stored(target)[0] == {"a{x=1}": "stale"}


def test_a_type_that_changes_is_noticed_although_the_series_is_known():
    target = converting()
    target.scrape(WHOLE)
    target.scrape(WHOLE.replace("histogram", "gauge"))
    histograms, floats = stored(target)
    assert (histograms, len(floats)) == ({"a{x=1}": "stale"}, 5)
    target.scrape(WHOLE)
    assert stored(target)[0] == {"a{x=1}": WHOLE_SHOWN}


def test_timestamps_of_the_parts_are_those_of_the_histogram():
    target = converting()
    lines = WHOLE.splitlines()
    target.scrape("\n".join([lines[0], *(line + " 12345" for line in lines[1:])]) + "\n")
    ((samples),) = target.appender.histograms.values()
    assert list(samples) == [12345]


def test_a_histogram_that_contradicts_itself_takes_its_exemplars_with_it():
    target = converting()
    body = (
        '# TYPE a histogram\na_bucket{le="1"} 3 # {t="1"} 0.5\na_bucket{le="+Inf"} 6\n'
        "a_count 0\na_sum 1\n# EOF\n"
    )
    assert target.scrape(body, OPENMETRICS).error == ""
    assert stored(target) == ({}, {})
    assert target.appender.exemplars == []


def test_exemplars_go_to_the_histogram():
    text = WHOLE.replace("} 3", '} 3 # {t="1"} 2 1.5') + "# EOF\n"
    for keep, names in ((False, ["a"]), (True, ["a_bucket", "a"])):
        target = converting(always_scrape_classic_histograms=keep)
        assert target.scrape(text, OPENMETRICS).error == ""
        rows = target.appender.exemplars
        assert sorted(series["__name__"] for series, *_ in rows) == sorted(names)
        assert {(*own.items(), value, time) for _, own, value, time in rows} == {
            (("t", "1"), 2.0, 1500)
        }


def test_limits_count_what_is_stored_and_buckets():
    target = converting(native_histogram_bucket_limit=2)
    assert target.scrape(WHOLE).error == "histogram bucket limit exceeded"
    target = converting(native_histogram_bucket_limit=3)
    assert target.scrape(WHOLE).error == ""


def classic(*labels_, native=False, when=()):
    buckets = [message((1, 1), (2, 1.0)), message((1, 4), (2, 2.5), (3, exemplar(2.0, 1.0, t="1")))]
    fields = [(1, 5), (2, 7.5), *((3, bucket) for bucket in buckets)]
    if native:
        fields += [(5, 0), (6, 0.001), (7, 0), *spans(12, (0, 2)), packed(13, 2, 1)]
    return message(*labels_, (7, message(*fields)), *when)


def test_protobuf_is_converted_too_but_what_is_native_already_is_left_alone():
    body = family("a", 4, classic(label("x", "1")), classic(label("x", "2"), native=True))
    target = converting(scrape_native_histograms=True, always_scrape_classic_histograms=True)
    assert target.scrape(body, PROTOBUF).error == ""
    histograms, floats = stored(target)
    assert set(histograms) == {"a{x=1}", "a{x=2}"}
    assert histograms["a{x=1}"] == (
        5.0,
        7.5,
        [(-math.inf, 1.0, 1.0), (1.0, 2.5, 3.0), (2.5, math.inf, 1.0)],
    )
    assert histograms["a{x=2}"] == "exponential"
    assert floats["a_count{x=2}"] == 5.0
    assert target.scrape(body, PROTOBUF).series_added == 0


def test_start_timestamps_reach_the_histogram():
    text = WHOLE + 'a_created{x="1"} 12.5\n# EOF\n'
    target = converting(start_times=True)
    starts = []
    answer = target.appender.append_histograms

    def note(refs, times_ms, histograms, *, time_max_ms=None, start_times_ms=None):
        starts.append(start_times_ms)
        return answer(refs, times_ms, histograms, time_max_ms=time_max_ms)

    target.appender.append_histograms = note
    target.scrape(text, OPENMETRICS)
    target.scrape(text, OPENMETRICS)
    assert [found.tolist() for found in starts] == [[12500], [12500]]
    assert stored(target)[1] == {}


def test_a_damaged_body_leaves_what_was_known():
    target = converting()
    target.scrape(WHOLE)
    assert target.scrape(ParseError("gone")).error == "gone"
    target.scrape(WHOLE)
    assert stored(target)[0] == {"a{x=1}": WHOLE_SHOWN}


def test_what_a_target_stops_showing_is_forgotten():
    target = converting()
    for generation in range(4):
        lines = [
            f'a_bucket{{x="{generation}-{n}",le="+Inf"}} 1\na_count{{x="{generation}-{n}"}} 1'
            for n in range(600)
        ]
        target.scrape("# TYPE a histogram\n" + "\n".join(lines) + "\n")
        assert len(stored(target)[0]) == 600 * (1 + bool(generation))
    assert target.ingest._reader._classic.cache.count <= 3 * 1200
    assert len(target.ingest._reader._classic._texts) <= 3 * 600
    histograms, _ = stored(target)
    assert (
        sum(one == (1.0, 0.0, [(-math.inf, math.inf, 1.0)]) for one in histograms.values()) == 600
    )


def plain_histogram(buckets, count, total):
    """What a classic histogram comes to, by the definition; None where it contradicts itself."""
    rows = {}
    for bound, below in buckets:
        rows.setdefault(bound, below)
    bounds = sorted(rows)
    belows = [rows[bound] for bound in bounds]
    if count is None:
        count = belows[-1] if belows else 0.0
    if not bounds or bounds[-1] != math.inf:
        bounds, belows = [*bounds, math.inf], [*belows, count]
    if belows[-1] != count or any(b < a for a, b in zip([0, *belows], belows, strict=False)):
        return None
    lower, shown_rows, before = -math.inf, [], 0.0
    for bound, below in zip(bounds, belows, strict=True):
        if below > before:
            shown_rows.append((lower, bound, below - before))
        lower, before = bound, below
    return count, total or 0.0, shown_rows


counts = st.integers(0, 5).map(float) | st.sampled_from([0.5, 2.5])
one = st.tuples(
    st.lists(st.tuples(st.sampled_from([-1.0, 0.0, 1.0, 2.5, math.inf]), counts), max_size=5),
    st.none() | counts,
    st.none() | counts,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(one, min_size=1, max_size=4))
def test_equals_the_definition(histograms):
    lines, expected = ["# TYPE a histogram"], {}
    for number, (buckets, count, total) in enumerate(histograms):
        lines += [f'a_bucket{{n="{number}",le="{b}"}} {below}' for b, below in buckets]
        lines += [f'a_sum{{n="{number}"}} {total}'] if total is not None else []
        lines += [f'a_count{{n="{number}"}} {count}'] if count is not None else []
        result = plain_histogram(buckets, count, total)
        there = buckets or count is not None or total is not None
        if result is not None and there:
            expected[f"a{{n={number}}}"] = result
    target = converting()
    outcome = target.scrape("\n".join(lines) + "\n")
    assert outcome.error == ""
    assert stored(target)[0] == expected


# ------------------------------------------------------------------------ a real Prometheus


@contextlib.contextmanager
def peer(folder, addresses):
    port = free_port()
    jobs = [
        {
            "job_name": f"j{n}",
            "scrape_interval": "200ms",
            "scrape_timeout": "200ms",
            "convert_classic_histograms_to_nhcb": True,
            "always_scrape_classic_histograms": keep,
            "static_configs": [{"targets": [address]}],
            "metrics_path": path,
        }
        for n, (address, path, keep) in enumerate(addresses)
    ]
    (folder / "p.yml").write_text(json.dumps({"scrape_configs": jobs}))
    with subprocess.Popen(
        [
            prometheus_3(),
            f"--web.listen-address=127.0.0.1:{port}",
            f"--config.file={folder / 'p.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            "--enable-feature=native-histograms",
        ],
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def asked(url, job):
    query = urllib.request.quote(f'{{job="{job}"}}')
    try:
        with urllib.request.urlopen(f"{url}/api/v1/query?query={query}") as answer:
            return json.load(answer)["data"]["result"]
    except OSError:
        return []


def theirs(rows):
    histograms, floats = {}, {}
    for row in rows:
        name = key(row["metric"])
        if "histogram" in row:
            one = row["histogram"][1]
            buckets = [(float(a), float(b), float(c)) for _, a, b, c in one.get("buckets", [])]
            histograms[name] = float(one["count"]), float(one["sum"]), buckets
        else:
            floats[name] = float(row["value"][1])
    return histograms, floats


@pytest.mark.peer
def test_a_real_prometheus_converts_the_same(tmp_path):
    texts = [case.values[0] for case in CASES]
    prometheus_3()

    async def page(request):
        return web.Response(text=texts[int(request.path[1:])])

    async def main():
        runner, address = await serve(page)
        wanted = [(address, f"/{n}", keep) for n in range(len(texts)) for keep in (False, True)]
        try:
            with peer(tmp_path, wanted) as url:
                for job, (_, path, keep) in enumerate(wanted):
                    rows = []
                    for _ in range(600):
                        rows = await asyncio.to_thread(asked, url, f"j{job}")
                        if any(row["metric"]["__name__"] == "up" for row in rows):
                            # Prometheus shows the floats of a scrape before its histograms.
                            await asyncio.sleep(0.2)
                            rows = await asyncio.to_thread(asked, url, f"j{job}")
                            break
                        await asyncio.sleep(0.1)
                    yield texts[int(path[1:])], keep, rows
        finally:
            await runner.cleanup()

    async def compare():
        compared = 0
        async for text, keep, rows in main():
            target = converting(always_scrape_classic_histograms=keep)
            outcome = target.scrape(text)
            histograms, floats = theirs(rows)
            report = {name: floats.pop(name) for name in REPORT}
            np.testing.assert_equal(stored(target), (histograms, floats), err_msg=text)
            assert outcome.scraped == report["scrape_samples_scraped"], text
            assert (not outcome.error) == bool(report["up"])
            compared += 1
        return compared

    assert asyncio.run(compare()) == 2 * len(CASES)
