"""Loops, pools and reloads against servers on loopback, with storage that only remembers."""

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise

import pytest
from aiohttp import web

from discovery.groups import TargetGroup
from discovery.http_client import Authorization, HttpClientConfig, OAuth2
from discovery.static import StaticDiscovery
from scraper.job import RelabelAction, RelabelRule, ScrapeJob, ScrapeLimits
from scraper.pool import Scraper
from tests.scraper.conftest import serve
from tsdb.errors import WriteFailedError

INTERVAL_MS = 200
JOB = ScrapeJob("j", scrape_interval_ms=INTERVAL_MS, scrape_timeout_ms=INTERVAL_MS)


class Page:
    """What a server shows; changes while it runs."""

    def __init__(self, text="a 1\n"):
        self.text, self.status, self.delay_s = text, 200, 0.0
        self.requests = []
        self.at_once = self.most_at_once = 0

    async def handler(self, request):
        self.requests.append((time.time(), request.path_qs, dict(request.headers)))
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await asyncio.sleep(self.delay_s)
        finally:
            self.at_once -= 1
        return web.Response(text=self.text, status=self.status)


class Bench:
    """One server and one scraper."""

    def __init__(self, scraper, page, address, appender):
        self.scraper, self.page, self.address, self.appender = scraper, page, address, appender
        self.at = StaticDiscovery((TargetGroup("0", ({"__address__": address},)),))

    async def until(self, condition, seconds=10.0):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not come to pass"
            await asyncio.sleep(0.01)

    async def scrapes(self, count):
        wanted = len(self.appender.of("up", instance=self.address)) + count
        await self.until(lambda: len(self.appender.of("up", instance=self.address)) >= wanted)

    def of(self, name):
        return self.appender.of(name, instance=self.address)


def run(appender, executor, body, page=None, **options):
    """Run an async test body with a bench, and leave nothing behind."""

    @asynccontextmanager
    async def bench():
        shown = page or Page()
        runner, address = await serve(shown.handler)
        scraper = Scraper(appender, executor, **options)
        try:
            yield Bench(scraper, shown, address, appender)
        finally:
            await scraper.stop()
            await runner.cleanup()

    async def main():
        async with bench() as b:
            await body(b)
            return b

    return asyncio.run(main())


def test_scrapes_come_at_the_interval_on_the_phase_with_aligned_times(appender, executor):
    def aligned(b):
        phases = [t % INTERVAL_MS for t, _ in b.of("up")]
        return max(phases.count(phase) for phase in phases)

    async def body(b):
        await b.scraper.apply([(JOB, [b.at])])
        # A loaded machine may be late now and then; what is in time is on the phase exactly.
        await b.scrapes(6)
        for _ in range(100):
            if aligned(b) >= 4:
                break
            await b.scrapes(1)

    b = run(appender, executor, body)
    times = [t for t, _ in b.of("up")]
    assert [t for t, _ in b.of("a")] == times
    assert aligned(b) >= 4
    assert b.page.most_at_once == 1
    assert sorted(times) == times


def test_the_view_shows_state_labels_and_errors(appender, executor):
    seen = []

    async def body(b):
        # Nobody sees the first scrape of a target that is scraped once in eleven days.
        await b.scraper.apply([(replace(JOB, scrape_interval_ms=10**9), [b.at])])
        await b.until(lambda: b.scraper.targets().active)
        seen.append(b.scraper.targets().active[0])
        await b.scraper.apply([(JOB, [b.at])])
        await b.scrapes(1)
        await b.until(lambda: b.scraper.targets().active[0].health == "up")
        seen.append(b.scraper.targets().active[0])
        b.page.status = 503
        await b.until(lambda: "503" in b.scraper.targets().active[0].last_error)
        seen.append(b.scraper.targets().active[0])
        assert b.scraper.scrape_pools() == ["j"]
        ((labels, families),) = b.scraper.metadata()
        assert labels == {"instance": b.address, "job": "j"}
        assert [(m.family, m.type, m.help) for m in families] == [("a", "gauge", "An a.")]

    b = run(appender, executor, body, Page("# TYPE a gauge\n# HELP a An a.\na 1\n"))
    first, up, down = seen
    assert (first.health, first.last_scrape_s, first.last_error) == ("unknown", 0, "")
    assert (up.health, up.last_error, up.scrape_interval) == ("up", "", "200ms")
    assert up.scrape_url == f"http://{b.address}/metrics"
    assert up.discovered_labels["__metrics_path__"] == "/metrics"
    assert abs(up.last_scrape_s - time.time()) < 30
    assert 0 < up.last_scrape_duration_s < 5
    assert down.last_error == "server returned HTTP status 503 Service Unavailable"
    assert b.of("a")[-1][1] == "stale"
    assert b.of("up")[-1][1] == 0


def test_a_slow_target_is_timed_out_and_never_scraped_twice_at_once(appender, executor):
    page = Page()
    page.delay_s = 0.5

    async def body(b):
        await b.scraper.apply([(replace(JOB, scrape_timeout_ms=150), [b.at])])
        await b.scrapes(3)
        assert "context deadline exceeded" in b.scraper.targets().active[0].last_error

    b = run(appender, executor, body, page)
    assert {value for _, value in b.of("up")} == {0}


def test_a_removed_target_is_marked_stale_after_its_second_slot(appender, executor):
    async def body(b):
        await b.scraper.apply([(JOB, [b.at])])
        await b.scrapes(2)
        await b.scraper.apply([(JOB, [StaticDiscovery(())])])
        await b.until(lambda: b.of("up")[-1][1] == "stale")
        assert b.scraper.targets().active == []

    b = run(appender, executor, body)
    (last, _), (gone, _) = b.of("up")[-2:]
    assert 0 < gone - last <= 2 * INTERVAL_MS + 50
    assert b.of("a")[-1] == (gone, "stale")


def test_a_removed_job_is_marked_stale_as_well(appender, executor):
    async def body(b):
        await b.scraper.apply([(JOB, [b.at])])
        await b.scrapes(2)
        await b.scraper.apply([])
        assert b.scraper.scrape_pools() == []
        await b.until(lambda: b.of("up")[-1][1] == "stale")

    run(appender, executor, body)


def test_a_target_that_comes_back_in_time_goes_on_without_a_mark(appender, executor):
    async def body(b):
        await b.scraper.apply([(JOB, [b.at])])
        await b.scrapes(2)
        await b.scraper.apply([])
        await asyncio.sleep(0.1)
        await b.scraper.apply([(JOB, [b.at])])
        await b.scrapes(4)

    b = run(appender, executor, body)
    assert "stale" not in [value for _, value in b.of("a") + b.of("up")]
    # Nothing was learned anew: the cache went on.
    assert {value for _, value in b.of("scrape_series_added")[1:]} == {0}


def test_shutdown_writes_no_marks(appender, executor):
    async def body(b):
        await b.scraper.apply([(JOB, [b.at])])
        await b.scrapes(2)

    b = run(appender, executor, body)
    assert "stale" not in [value for _, value in b.of("a") + b.of("up")]


def test_reloading_the_same_configuration_changes_nothing(appender, executor):
    async def body(b):
        await b.scraper.apply([(JOB, [b.at])])
        await b.scrapes(1)
        before = dict(b.scraper._pools["j"].loops)
        for _ in range(5):
            await b.scraper.apply([(replace(JOB), [StaticDiscovery(b.at.groups)])])
            await asyncio.sleep(0.05)
        assert b.scraper._pools["j"].loops == before
        await b.scrapes(2)

    b = run(appender, executor, body)
    times = [t for t, _ in b.of("up")]
    assert max(later - earlier for earlier, later in pairwise(times)) < 2 * INTERVAL_MS


def test_a_new_interval_keeps_the_cache_and_no_scrape_is_lost(appender, executor):
    async def body(b):
        await b.scraper.apply([(JOB, [b.at])])
        await b.scrapes(2)
        faster = replace(JOB, scrape_interval_ms=100, scrape_timeout_ms=100)
        await b.scraper.apply([(faster, [b.at])])
        await b.scrapes(4)
        assert b.scraper.targets().active[0].scrape_interval == "100ms"

    b = run(appender, executor, body)
    assert {value for _, value in b.of("scrape_series_added")[1:]} == {0}
    assert "stale" not in [value for _, value in b.of("a")]
    times = [t for t, _ in b.of("up")]
    assert times[-1] - times[-2] < 180


def test_other_metric_relabelling_marks_what_it_drops(appender, executor):
    async def body(b):
        await b.scraper.apply([(JOB, [b.at])])
        await b.scrapes(2)
        drop = RelabelRule(RelabelAction.DROP, ("__name__",), regex="a")
        await b.scraper.apply([(replace(JOB, metric_relabel_rules=(drop,)), [b.at])])
        await b.until(lambda: b.of("a")[-1][1] == "stale")
        await b.scrapes(1)
        assert b.of("b")[-1][1] == 2

    run(appender, executor, body, Page("a 1\nb 2\n"))


def test_too_many_targets_all_fail_without_a_request(appender, executor):
    async def body(b):
        two = StaticDiscovery(
            (TargetGroup("0", ({"__address__": b.address}, {"__address__": b.address, "x": "y"})),)
        )
        await b.scraper.apply([(replace(JOB, limits=ScrapeLimits(target_limit=1)), [two])])
        await b.until(
            lambda: (
                [t.last_error for t in b.scraper.targets().active]
                == ["target_limit exceeded (number of targets: 2, limit: 1)"] * 2
            )
        )
        assert b.page.requests == []
        assert b.scraper.stats().pools["j"].exceeded_target_limit == 1
        await b.scraper.apply([(JOB, [two])])
        await b.until(lambda: {t.health for t in b.scraper.targets().active} == {"up"})

    run(appender, executor, body)


def test_dropped_targets_are_shown(appender, executor):
    async def body(b):
        rules = (RelabelRule(RelabelAction.DROP, ("__address__",)),)
        await b.scraper.apply([(replace(JOB, relabel_rules=rules), [b.at])])
        await b.until(lambda: b.scraper.targets().dropped)
        targets = b.scraper.targets()
        assert targets.dropped_counts == {"j": 1}
        assert targets.dropped[0].scrape_pool == "j"
        assert targets.dropped[0].discovered_labels["__address__"] == b.address

    run(appender, executor, body)


def test_a_job_whose_rules_do_not_compile_leaves_the_others_alone(appender, executor):
    async def body(b):
        broken = ScrapeJob("broken", relabel_rules=(RelabelRule(RelabelAction.KEEP, regex="("),))
        await b.scraper.apply([(broken, [b.at]), (JOB, [b.at])])
        await b.scrapes(1)
        assert b.scraper.scrape_pools() == ["j"]
        stats = b.scraper.stats()
        assert (stats.pools_begun, stats.pools_failed) == (2, 1)
        await b.scraper.apply([(JOB, [b.at])])
        assert (b.scraper.stats().pools_begun, b.scraper.stats().pool_reloads) == (2, 1)

    run(appender, executor, body)


def test_credentials_are_read_anew_for_each_request(appender, executor, tmp_path):
    token = tmp_path / "token"
    token.write_text(" one \n")
    client = HttpClientConfig(authorization=Authorization(credentials_file=token))

    async def body(b):
        await b.scraper.apply([(replace(JOB, http_client=client), [b.at])])
        await b.scrapes(1)
        token.write_text("two")
        await b.scrapes(2)
        token.unlink()
        await b.until(lambda: "unable to read file" in b.scraper.targets().active[0].last_error)

    b = run(appender, executor, body)
    sent = [headers["Authorization"] for _, _, headers in b.page.requests]
    assert sent[0] == "Bearer one"
    assert sent[-1] == "Bearer two"


def test_counts_are_kept_for_telemetry(appender, executor, caplog):
    async def body(b):
        await b.scraper.apply([(replace(JOB, limits=ScrapeLimits(sample_limit=2)), [b.at])])
        await b.scrapes(2)
        b.page.text = "a 1\nb 2\nc 3\n"
        await b.until(lambda: b.scraper.stats().exceeded_sample_limit >= 1)
        stats = b.scraper.stats()
        assert stats.scrapes >= 3
        assert stats.duplicate_samples >= 2
        assert caplog.text.count("different value but same timestamp") == 1
        assert stats.pools["j"].targets == 1
        assert stats.pools["j"].series_cached >= 1
        assert stats.intervals["200ms"].count >= 2
        assert 0.1 < stats.intervals["200ms"].quantiles[0.5] < 0.4

    run(appender, executor, body, Page("a 1\na 2\n"))


def test_a_failing_storage_does_not_end_the_loop(appender, executor, caplog):
    async def body(b):
        answer = appender.append
        failures = []

        def fail(*_, **__):
            failures.append(1)
            raise OSError("disk full")

        appender.append = fail
        await b.scraper.apply([(JOB, [b.at])])
        await b.until(lambda: len(failures) >= 2)
        appender.append = answer
        await b.scrapes(1)

    run(appender, executor, body)
    assert "disk full" in caplog.text


def test_a_scrape_that_cannot_be_stored_says_why(appender, executor):
    async def body(b):
        answer = appender.append
        text = "write to the log failed: No space left on device"

        def fail(*_, **__):
            raise WriteFailedError(text)

        def shown():
            return [(each.health, each.last_error) for each in b.scraper.targets().active]

        appender.append = fail
        await b.scraper.apply([(JOB, [b.at])])
        await b.until(lambda: shown() == [("down", text)])
        appender.append = answer
        await b.until(lambda: shown() == [("up", "")])

    run(appender, executor, body)


def test_targets_are_spread_over_the_interval(appender, executor):
    async def body(b):
        many = StaticDiscovery(
            (TargetGroup("0", tuple({"__address__": b.address, "n": str(n)} for n in range(40))),)
        )
        await b.scraper.apply(
            [(replace(JOB, scrape_interval_ms=1000, scrape_timeout_ms=1000), [many])]
        )
        await b.until(lambda: len(b.page.requests) >= 40)

    b = run(appender, executor, body)
    tenths = {int(t * 10) % 10 for t, _, _ in b.page.requests}
    assert len(tenths) >= 7


@pytest.mark.parametrize("labels", [{}, {"replica": "1"}])
def test_external_labels_shift_phases(appender, executor, labels):
    scraper = Scraper(appender, executor, external_labels=labels)
    other = Scraper(appender, executor, external_labels={"replica": "2"})
    assert scraper._context.phase_seed != other._context.phase_seed


def test_a_unix_socket_is_dialled(appender, executor, tmp_path):
    path = str(tmp_path / "s")

    async def main():
        app = web.Application()
        app.router.add_get("/metrics", Page().handler)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.UnixSite(runner, path).start()
        scraper = Scraper(appender, executor)
        labels = {"__address__": "local", "__unix_socket__": path}
        await scraper.apply([(JOB, [StaticDiscovery((TargetGroup("0", (labels,)),))])])
        try:
            for _ in range(300):
                if appender.of("a", instance="local"):
                    return
                await asyncio.sleep(0.01)
        finally:
            await scraper.stop()
            await runner.cleanup()

    asyncio.run(main())
    assert appender.of("a", instance="local")[0][1] == 1


def test_scrapes_carry_a_token_and_a_withdrawn_one_costs_no_scrape(appender, executor, monkeypatch):
    monkeypatch.setattr("discovery.oauth2.RENEWAL_S", 0.0)

    class Guarded(Page):
        def __init__(self):
            super().__init__()
            self.issued = 0

        async def handler(self, request):
            if request.path == "/token":
                self.issued += 1
                return web.json_response({"access_token": f"t{self.issued}"})
            if request.headers.get("Authorization") != f"Bearer t{self.issued}":
                return web.Response(status=401)
            return await super().handler(request)

    page = Guarded()

    async def body(bench):
        oauth2 = OAuth2("me", f"http://{bench.address}/token")
        job = replace(JOB, http_client=HttpClientConfig(oauth2=oauth2))
        await bench.scraper.apply([(job, [bench.at])])
        await bench.scrapes(2)
        page.issued += 1  # what is out there counts no longer
        await bench.scrapes(3)
        assert page.issued == 3
        assert {value for _, value in bench.of("up")} == {1.0}

    run(appender, executor, body, page)


def test_a_token_that_cannot_be_had_fails_the_scrape_in_its_words(appender, executor):
    async def body(bench):
        oauth2 = OAuth2("me", f"http://{bench.address}/token")
        job = replace(JOB, http_client=HttpClientConfig(oauth2=oauth2))
        await bench.scraper.apply([(job, [bench.at])])
        expected = (
            f'Get "http://{bench.address}/metrics": oauth2: server response missing access_token'
        )
        # On a busy machine the first answers may come after the timeout.
        for _ in range(100):
            await bench.scrapes(1)
            (active,) = bench.scraper.targets().active
            if active.last_error == expected:
                return
        pytest.fail(active.last_error)

    run(appender, executor, body)
