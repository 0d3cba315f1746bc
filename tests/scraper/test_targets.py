import json

import pytest

from discovery.groups import TargetGroup
from scraper.job import PROTOBUF_PROTOCOL, RelabelAction, RelabelRule, ScrapeJob, ScrapeLimits
from scraper.relabel import compile_rules
from scraper.targets import TargetMaker


def found(*targets, groups=None, **job):
    job = ScrapeJob("j", **job)
    groups = groups or [TargetGroup("g", tuple(targets))]
    return TargetMaker().targets(job, compile_rules(job.relabel_rules), groups)


def one(*targets, **job):
    result = found(*targets, **job)
    assert result.failures == ()
    (target,) = result.active
    return target


def test_defaults_are_filled_in_and_hidden_labels_do_not_reach_samples():
    target = one({"__address__": "h:1", "__meta_x": "y", "__tmp": "z", "empty": ""})
    assert target.discovered == {
        "__address__": "h:1",
        "__meta_x": "y",
        "__tmp": "z",
        "job": "j",
        "__scrape_interval__": "1m",
        "__scrape_timeout__": "10s",
        "__metrics_path__": "/metrics",
        "__scheme__": "http",
    }
    assert target.labels == {"job": "j", "instance": "h:1"}
    assert (target.url, target.interval_ms, target.timeout_ms) == (
        "http://h:1/metrics",
        60000,
        10000,
    )


def test_labels_of_the_target_win_over_those_of_its_group_and_those_over_the_job():
    groups = [
        TargetGroup("g", ({"__address__": "h:1", "a": "target"},), {"a": "x", "job": "group"})
    ]
    result = found(groups=groups)
    assert result.active[0].labels == {"a": "target", "job": "group", "instance": "h:1"}


@pytest.mark.parametrize(
    ("labels", "job", "url"),
    [
        (
            {},
            {"params": {"b c": ("d&e",), "a": ("1", "2")}},
            "http://h:1/metrics?a=1&a=2&b+c=d%26e",
        ),
        ({"__param_a": "x"}, {"params": {"a": ("1", "2")}}, "http://h:1/metrics?a=x&a=2"),
        ({"__param_new": "x/y"}, {}, "http://h:1/metrics?new=x%2Fy"),
        ({"__metrics_path__": "probe me?", "__scheme__": "https"}, {}, "https://h:1/probe%20me%3F"),
    ],
)
def test_urls(labels, job, url):
    assert one({"__address__": "h:1"} | labels, **job).url == url


@pytest.mark.parametrize(
    ("labels", "failure"),
    [
        ({"__address__": ""}, "no address"),
        ({"__address__": "http://h:1"}, '"http://h:1" is not a valid hostname'),
        (
            {"__scrape_interval__": "x"},
            'error parsing scrape interval: not a valid duration string: "x"',
        ),
        ({"__scrape_interval__": "0s"}, "scrape interval cannot be 0"),
        ({"__scrape_timeout__": "0"}, "scrape timeout cannot be 0"),
        (
            {"__scrape_interval__": "1s"},
            'scrape timeout cannot be greater than scrape interval ("10s" > "1s")',
        ),
        ({"l": "\udcff"}, 'invalid label value for "l": '),
    ],
)
def test_a_broken_target_fails_alone(labels, failure):
    result = found({"__address__": "h:1"} | labels, {"__address__": "h:2"})
    assert [target.labels["instance"] for target in result.active] == ["h:2"]
    assert len(result.failures) == 1
    assert failure in result.failures[0]


def test_relabelling_decides_address_interval_and_what_is_dropped():
    rules = (
        RelabelRule(RelabelAction.DROP, ("drop",), regex="yes"),
        RelabelRule(source_labels=("__meta_a",), target_label="__address__"),
        RelabelRule(target_label="__scrape_interval__", replacement="15s"),
    )
    result = found({"__meta_a": "h:1"}, {"drop": "yes", "__meta_a": "h:2"}, relabel_rules=rules)
    assert [(t.url, t.interval_ms) for t in result.active] == [("http://h:1/metrics", 15000)]
    assert result.dropped_count == 1
    assert result.dropped[0].discovered_labels["__meta_a"] == "h:2"


def test_dropped_targets_are_capped_and_counted():
    rules = (RelabelRule(RelabelAction.DROP, ("__address__",)),)
    limits = ScrapeLimits(keep_dropped_targets=2)
    targets = [{"__address__": f"h:{n}"} for n in range(5)]
    result = found(*targets, relabel_rules=rules, limits=limits)
    assert (len(result.dropped), result.dropped_count) == (2, 5)


def test_equal_targets_are_one_and_phases_do_not_depend_on_the_interval():
    a = {"__address__": "h:1"}
    result = found(a, a | {"__meta_x": "1"}, a | {"l": "1"})
    assert len(result.active) == 2
    fast = one(a, scrape_interval_ms=20_000)
    assert fast.phase_hash == result.active[0].phase_hash
    assert json.loads(fast.key)[0] == {"job": "j", "instance": "h:1"}


class CountingRules:
    """Rules that keep everything and count how often they are asked."""

    def __init__(self):
        self.applied = 0

    def apply(self, labels):
        self.applied += 1
        return dict(labels)


def test_only_targets_that_changed_are_relabelled_again():
    job, rules, maker = ScrapeJob("j"), CountingRules(), TargetMaker()

    def group(number, port=1):
        targets = ({"__address__": f"h{number}:{port}"}, {"__address__": f"h{number}:9"})
        return TargetGroup(str(number), targets)

    def urls(groups):
        return [target.url for target in maker.targets(job, rules, groups).active]

    groups = [group(number) for number in range(100)]
    first = urls(groups)
    assert (len(first), rules.applied) == (200, 200)
    assert urls(groups) == first
    groups[50] = group(50, port=2)
    assert urls(groups)[100:102] == ["http://h50:2/metrics", "http://h50:9/metrics"]
    assert rules.applied == 201
    del groups[:50]
    assert len(urls(groups)) == 100
    assert rules.applied == 201
    # Another job, or other rules, mean everything anew.
    maker.targets(ScrapeJob("k"), rules, groups)
    assert rules.applied == 301
    assert (
        maker.targets(job, CountingRules(), groups).active
        == maker.targets(job, CountingRules(), groups).active
    )


def test_kept_dropped_targets_are_capped_over_all_groups():
    class DropAll:
        def apply(self, _):
            return None

    job = ScrapeJob("j", limits=ScrapeLimits(keep_dropped_targets=3))
    groups = [
        TargetGroup(str(n), tuple({"__address__": f"h{n}:{m}"} for m in range(5))) for n in range(4)
    ]
    found = TargetMaker().targets(job, DropAll(), groups)
    assert (len(found.dropped), found.dropped_count) == (3, 20)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param({}, (False, False, False), id="none: as the job has it"),
        pytest.param(
            {"__scrape_native_histograms__": "true"}, (True, False, False), id="native histograms"
        ),
        pytest.param(
            {
                "__convert_classic_histograms_to_nhcb__": "true",
                "__always_scrape_classic_histograms__": "true",
            },
            (False, True, True),
            id="converted and kept",
        ),
        pytest.param({"__scrape_native_histograms__": "false"}, (False, False, False), id="off"),
    ],
)
def test_labels_decide_about_histograms_of_one_target(labels, expected):
    job = ScrapeJob("j")
    (target,) = (
        TargetMaker()
        .targets(job, compile_rules(()), [TargetGroup("0", ({"__address__": "h:1", **labels},))])
        .active
    )
    own = target.job_of(job)
    assert (
        own.scrape_native_histograms,
        own.always_scrape_classic_histograms,
        own.convert_classic_histograms,
    ) == expected
    assert (own.scrape_protocols[0] == PROTOBUF_PROTOCOL) == expected[0]
    assert (own is job) == (not any(expected))
    assert set(target.labels) == {"instance", "job"}


def test_a_label_that_is_no_boolean_costs_the_target():
    group = TargetGroup("0", ({"__address__": "h:1", "__scrape_native_histograms__": "yes"},))
    found = TargetMaker().targets(ScrapeJob("j"), compile_rules(()), [group])
    assert found.active == ()
    assert "__scrape_native_histograms__" in found.failures[0]


def test_equal_groups_of_a_reload_are_not_made_again_and_one_that_changed_is():
    job, rules = ScrapeJob("j"), compile_rules(())
    maker = TargetMaker()

    def groups(changed):
        return [
            TargetGroup(str(n), ({"__address__": f"h{n}:1"},), {"x": "y" if n == changed else "z"})
            for n in range(5)
        ]

    before = {target.url: target for target in maker.targets(job, rules, groups(-1)).active}
    after = {target.url: target for target in maker.targets(job, rules, groups(3)).active}
    assert [url for url in before if after[url] is not before[url]] == ["http://h3:1/metrics"]
    assert after["http://h3:1/metrics"].labels["x"] == "y"


def test_one_target_that_changes_in_a_group_of_many_is_the_only_one_made_again():
    job, maker = ScrapeJob("j"), TargetMaker()
    rules = compile_rules([RelabelRule(RelabelAction.DROP, source_labels=("gone",), regex="yes")])

    def found(*targets, **labels):
        group = TargetGroup("0", tuple({"__address__": a, **more} for a, more in targets), labels)
        return {target.url: target for target in maker.targets(job, rules, [group]).active}

    first = found(("a", {}), ("b", {"x": "1"}), ("c", {"gone": "yes"}), ("d", {}))
    second = found(("new", {}), ("a", {}), ("b", {"x": "2"}), ("c", {}), ("d", {}))
    url = "http://{}/metrics".format
    assert list(second) == [url(name) for name in ("new", "a", "b", "c", "d")]
    kept = [name for name in ("a", "b", "d") if second[url(name)] is first[url(name)]]
    assert kept == ["a", "d"]
    assert second[url("b")].labels["x"] == "2"
    # Labels of the group are labels of all.
    third = found(("a", {}), ("d", {}), y="1")
    assert [target.labels["y"] for target in third.values()] == ["1", "1"]
