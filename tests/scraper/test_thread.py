import asyncio
import threading

from aiohttp import web

from discovery.groups import TargetGroup
from discovery.static import StaticDiscovery
from scraper.job import ScrapeJob
from scraper.thread import ScraperThread
from tests.scraper.conftest import serve


def test_a_scraper_in_a_thread_scrapes_is_seen_from_here_and_ends(appender, executor):
    async def run():
        async def handler(_):
            return web.Response(text="a 1\n")

        runner, address = await serve(handler)
        job = ScrapeJob("j", scrape_interval_ms=100, scrape_timeout_ms=100)
        found = StaticDiscovery((TargetGroup("0", ({"__address__": address},)),))
        scraper = ScraperThread(appender, executor, external_labels={"replica": "a"})
        await scraper.apply([(job, [found])])
        for _ in range(100):
            await asyncio.sleep(0.05)
            if scraper.stats().scrapes >= 3:
                break
        (target,) = scraper.targets().active
        assert (target.health, target.last_error) == ("up", "")
        assert scraper.scrape_pools() == ["j"]
        assert scraper.discoverers() == {"j": (found,)}
        assert [list(families) for _, families in scraper.metadata()] == [[]]
        assert "scraper" in [thread.name for thread in threading.enumerate()]
        closed_on = []

        async def close():
            closed_on.append(threading.current_thread().name)

        await scraper.stop(close)
        assert closed_on == ["scraper"]
        await runner.cleanup()

    asyncio.run(run())
    assert len(appender.of("a")) >= 3
    assert "scraper" not in [thread.name for thread in threading.enumerate()]
