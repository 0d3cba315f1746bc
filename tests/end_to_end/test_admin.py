"""The admin API on a real server: what is deleted is gone, a snapshot is a database."""

import json
import time

import pytest

from tests.end_to_end.processes import gnomon
from tests.end_to_end.test_server import write_request

pytestmark = pytest.mark.timeout(240)


def test_deleting_and_snapshots(server):
    running = server("--web.enable-admin-api", "--web.enable-remote-write-receiver")
    running.configure({})
    running.start()
    now_ms = int(time.time() * 1000) // 1000 * 1000
    for name in ("kept", "gone"):
        assert running.write(write_request(name, [(now_ms - 1000, 1.0), (now_ms, 2.0)])) == 204

    status, body = running.get("/api/v1/admin/tsdb/snapshot", b"")
    assert status == 200, body
    folder = running.folder / "data" / "snapshots" / json.loads(body)["data"]["name"]
    assert folder.is_dir()

    deleted = f"/api/v1/admin/tsdb/delete_series?match[]=gone&start={now_ms / 1000}"
    assert running.get(deleted, b"") == (204, b"")
    left = running.api("query", query='{__name__=~"kept|gone"}[1m]', time=str(now_ms / 1000))
    values = {s["metric"]["__name__"]: [v for _, v in s["values"]] for s in left["result"]}
    assert values == {"kept": ["1", "2"], "gone": ["1"]}
    assert running.get("/api/v1/admin/tsdb/clean_tombstones", b"")[0] == 204
    assert running.api("status/tsdb/blocks") == {"blocks": []}

    assert running.stop() == 0
    found = gnomon("query", "instant", "--data", folder, "--output", "json",
                   "--time", now_ms / 1000, '{__name__=~"kept|gone"}')  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert '"gone"' in found.stdout
    assert '"kept"' in found.stdout
