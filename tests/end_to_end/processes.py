"""Real processes for end-to-end tests: a server, its peers, and what one asks of them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE_S = 60.0
"""Two processes may compile kernels beside each other on a busy machine."""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def until(condition, what, patience_s=PATIENCE_S):
    """Ask until the answer is true, and return it."""
    deadline = time.monotonic() + patience_s
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {patience_s} s for {what}"
        time.sleep(0.1)


def gnomon(*words, **options):
    """Run one command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "gnomon", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        **options,
    )


IN_DEBIAN_12 = ("prometheus", "promtool", "prometheus-node-exporter")
"""What `.ci/run` can always install."""


def peer(name: str) -> str:
    """Return the path of a program: in the folder GNOMON_PEERS names, or else on the PATH.

    Skips where there is none. Ask before anything is opened: a skip leaves the test at once.
    """
    path = shutil.which(name, path=os.environ.get("GNOMON_PEERS")) or shutil.which(name)
    if path is None:
        if os.environ.get("CI") and name in IN_DEBIAN_12:
            pytest.fail(f"CI needs {name}")
        pytest.skip(f"{name} is not installed")
    return path


def prometheus_3() -> str:
    """Return a Prometheus of version 3, found as every peer is; skips where there is none."""
    for folder in (os.environ.get("GNOMON_PEERS"), None):
        path = shutil.which("prometheus", path=folder)
        if path is not None:
            shown = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
            if "version 3." in shown.stdout + shown.stderr:
                return path
    pytest.skip("no Prometheus 3 on the PATH or in $GNOMON_PEERS")


@contextlib.contextmanager
def node_exporter():
    port = free_port()
    process = subprocess.Popen(
        [peer("prometheus-node-exporter"), f"--web.listen-address=127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


class Server:
    """One `gnomon serve` in a directory of its own; starts, stops, and starts again."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.folder, self._flags = folder, flags
        self.port = free_port()
        self.config_file = folder / "gnomon.yml"
        self.log_file = folder / "log.txt"
        self.process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def configure(self, jobs: dict[str, str], interval="500ms") -> None:
        lines = [f"global: {{scrape_interval: {interval}}}", "scrape_configs:"]
        for name, target in jobs.items():
            lines.append(f"- job_name: {name}\n  static_configs: [{{targets: ['{target}']}}]")
        self.config_file.write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        self.launch()
        until(self._ready_or_dead, "the server to be ready")

    def launch(self) -> None:
        """Start without waiting."""
        with self.log_file.open("a") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "gnomon",
                    "serve",
                    f"--config.file={self.config_file}",
                    f"--storage.tsdb.path={self.folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                    *self._flags,
                ],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )

    def _ready_or_dead(self) -> bool:
        assert self.process.poll() is None, self.log
        try:
            return self.get("/-/ready")[0] == 200
        except OSError:
            return False

    def stop(self, number=signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def get(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        request = urllib.request.Request(self.url + path, data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def write(self, body: bytes) -> int:
        """Send a remote write body; returns the status."""
        headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}
        return self.get("/api/v1/write", body, **headers)[0]

    def api(self, path: str, **parameters: str):
        status, body = self.get(f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        answer = json.loads(body)
        assert status == 200, answer
        return answer["data"]

    def query(self, expr: str, **parameters: str) -> dict[str, float]:
        """Return an instant vector as values by what tells its series apart."""
        result = self.api("query", query=expr, **parameters)["result"]
        return {
            ",".join(v for n, v in sorted(series["metric"].items()) if n != "__name__"): float(
                series["value"][1]
            )
            for series in result
        }
