"""A start whose replay takes long: what is there is answered meanwhile, and said to be a part."""

import json
import os

import numpy as np
import pytest

from tests.end_to_end.processes import until
from tsdb.database import Database
from tsdb.interface import LabelSpans
from tsdb.options import DatabaseOptions
from tsdb.wal import SEGMENT_MAGIC

pytestmark = pytest.mark.timeout(240)

WARNING = "results may be incomplete: the log is being replayed, 9 of 10 segments"


def test_queries_are_answered_before_the_log_is_replayed(server):
    running = server("--web.enable-remote-write-receiver", "--storage.tsdb.retention.time=100y")
    running.configure({})
    data = running.folder / "data"
    database = Database.open(data, DatabaseOptions(background=False, retention_ms=None))
    refs = database.resolve(
        LabelSpans.from_labels([{"__name__": "early", "n": str(n)} for n in (1, 2)])
    )
    for k in range(1, 11):
        database.append(refs, np.full(2, k * 1000), np.array([k, 2.0 * k]))
    database.close()
    (data / "head/snapshot").unlink()
    # A segment that is a pipe: the replay waits for us to write it.
    last = data / "wal" / "00000009"
    os.mkfifo(last)
    running.launch()

    def asked(path):
        try:
            status, body = running.get(path)
        except OSError:
            return None
        return json.loads(body) if status == 200 else None

    query = "/api/v1/query?query=sum(count_over_time(early[1m]))&time=20"

    def all_of_it():
        reply = asked(query)
        return reply if reply and reply["data"]["result"] else None

    reply = until(all_of_it, "an answer during the replay")
    assert reply["data"]["result"][0]["value"] == [20, "20"]
    assert reply["warnings"] == [WARNING]
    values = asked("/api/v1/label/n/values?start=0&end=20")
    assert (values["data"], values["warnings"]) == (["1", "2"], [WARNING])
    assert asked("/api/v1/status/walreplay")["data"] == {"min": 0, "max": 9, "current": 9}
    assert running.get("/-/ready")[0] == 503
    assert running.get("/api/v1/write", b"")[0] == 503
    with last.open("wb") as pipe:
        pipe.write(SEGMENT_MAGIC)
    until(running._ready_or_dead, "the server to be ready")
    reply = asked(query)
    assert reply["data"]["result"][0]["value"] == [20, "20"]
    assert "warnings" not in reply
    assert running.stop() == 0
