"""A running server takes up changes of its configuration by itself, and tells of bad ones."""

import json
import urllib.request

import pytest

from tests.end_to_end.processes import PATIENCE_S, until

pytestmark = pytest.mark.timeout(240)


def test_changes_are_applied_and_bad_ones_told_to_who_listens(server):
    running = server("--config.auto-reload", "--config.auto-reload-interval=1s")
    running.configure({"one": "127.0.0.1:1"})
    running.start()
    running.configure({"two": "127.0.0.1:1"})
    until(lambda: running.api("scrape_pools")["scrapePools"] == ["two"], "the new job")

    with urllib.request.urlopen(
        f"{running.url}/api/v1/notifications/live", timeout=PATIENCE_S
    ) as live:

        def told():
            while not (line := live.readline()).startswith(b"data: "):
                assert line, "the stream ended"
            event = json.loads(line.removeprefix(b"data: "))
            return event["text"], event["active"]

        running.config_file.write_text("what: [\n")
        assert told() == ("Configuration reload has failed.", True)
        assert running.api("scrape_pools")["scrapePools"] == ["two"]
        running.configure({"three": "127.0.0.1:1"})
        assert told() == ("Configuration reload has failed.", False)
        assert running.api("scrape_pools")["scrapePools"] == ["three"]
        assert running.stop() == 0
        text, active = told()
        assert text.startswith("Prometheus is shutting down")
        assert active
