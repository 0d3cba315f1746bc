"""A target whose scrapes are stored in memory, for tests of all that a scrape brings."""

from scraper.ingest import TargetIngest
from scraper.job import ScrapeJob
from scraper.labelling import Labelling
from scraper.outcome import Body
from scraper.relabel import compile_rules

REPORT = {
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
}
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
