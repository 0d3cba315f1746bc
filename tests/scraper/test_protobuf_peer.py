"""A real Prometheus 3, scraped over protobuf by a real loop into real storage."""

import asyncio
import contextlib
import socket
import subprocess
import time

import numpy as np
import pytest

from discovery.groups import TargetGroup
from discovery.static import StaticDiscovery
from scraper.job import PROTOBUF_FIRST, ScrapeJob
from scraper.pool import Scraper
from tests.end_to_end.processes import prometheus_3
from tsdb.database import Database
from tsdb.interface import Matcher, MatchOp, Selection
from tsdb.staleness import is_stale


@contextlib.contextmanager
def running(folder):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{s.getsockname()[1]}"
    (folder / "empty.yml").write_text("")
    with subprocess.Popen(
        [
            prometheus_3(),
            f"--web.listen-address={address}",
            f"--config.file={folder / 'empty.yml'}",
            f"--storage.tsdb.path={folder / 'peer'}",
        ],
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield address
        finally:
            process.terminate()


@pytest.mark.peer
def test_a_real_prometheus_is_scraped_over_protobuf(tmp_path, executor):
    def native(database, now_ms):
        name = Matcher("__name__", MatchOp.EQUAL, "prometheus_http_request_duration_seconds")
        (batch,) = database.select([Selection((name,), 0, now_ms)])
        return batch

    async def main(database, address):
        scraper = Scraper(database, executor)
        job = ScrapeJob(
            "p",
            scrape_interval_ms=400,
            scrape_timeout_ms=400,
            scrape_protocols=PROTOBUF_FIRST,
            scrape_native_histograms=True,
        )
        at = StaticDiscovery((TargetGroup("0", ({"__address__": address},)),))
        await scraper.apply([(job, [at])])
        try:
            for _ in range(2000):
                found = native(database, int(time.time() * 1000)).histograms
                if found is not None and found.count.max() >= 3:
                    return scraper.targets().active
                await asyncio.sleep(0.01)
            pytest.fail(f"no histograms: {scraper.targets().active}")
        finally:
            await scraper.stop()

    with (
        running(tmp_path) as address,
        contextlib.closing(Database.open(tmp_path / "own")) as database,
    ):
        (target,) = asyncio.run(main(database, address))
        assert target.health == "up"
        runs = native(database, int(time.time() * 1000)).histograms
        live = runs.columns.count[~is_stale(runs.columns.sum)]
        assert live.size
        assert np.all(live >= 1)
        buckets = np.add.reduceat(runs.columns.positive_count, runs.columns.positive_start[:-1])
        np.testing.assert_array_equal(buckets + runs.columns.zero_count, runs.columns.count)
