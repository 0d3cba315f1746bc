"""A real node_exporter, scraped once by a real loop."""

import asyncio
import shutil
import socket
import subprocess

import pytest

from discovery.groups import TargetGroup
from discovery.static import StaticDiscovery
from scraper.job import ScrapeJob
from scraper.pool import Scraper

PROGRAM = "prometheus-node-exporter"


@pytest.fixture
def address():
    if shutil.which(PROGRAM) is None:
        pytest.skip(f"{PROGRAM} is not installed")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{s.getsockname()[1]}"
    # ipvs and the like fail without rights; the default set is what users run.
    with subprocess.Popen(
        [PROGRAM, f"--web.listen-address={address}"], stderr=subprocess.DEVNULL
    ) as process:
        yield address
        process.terminate()


@pytest.mark.peer
def test_a_real_exporter_is_scraped(address, appender, executor):
    async def main():
        scraper = Scraper(appender, executor)
        job = ScrapeJob("node", scrape_interval_ms=500, scrape_timeout_ms=500)
        at = StaticDiscovery((TargetGroup("0", ({"__address__": address},)),))
        await scraper.apply([(job, [at])])
        try:
            for _ in range(2000):
                if sum(value == 1 for _, value in appender.of("up", job="node")) >= 2:
                    return scraper.metadata()
                await asyncio.sleep(0.01)
            pytest.fail(f"never up: {scraper.targets().active}")
        finally:
            await scraper.stop()

    ((labels, families),) = asyncio.run(main())
    assert labels == {"instance": address, "job": "node"}
    assert len(families) > 50
    assert len(appender.of("node_load1")) >= 2
    assert appender.of("scrape_samples_scraped")[-1][1] > 200
    assert appender.of("scrape_series_added")[-1][1] < 20
