"""Start Gnomon and its peers for a benchmark, and read what they cost from /proc.

Peers are found on the PATH, or in the folder that $GNOMON_PEERS names (`.../usr/bin` of unpacked
Debian packages). A peer that is not there is left out, and the table says so.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def find(program: str) -> str | None:
    """Path of a peer's program, or None."""
    folder = os.environ.get("GNOMON_PEERS")
    if folder and (path := Path(folder) / program).exists():
        return str(path)
    return shutil.which(program)


@dataclass
class Server:
    """A running server under measurement."""

    name: str
    url: str
    process: subprocess.Popen
    data: Path

    def cpu_s(self) -> float:
        """User and system CPU seconds of the process so far, all its threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def memory_bytes(self, field: str = "VmRSS") -> int:
        """Resident memory now (VmRSS) or at its highest (VmHWM)."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
        raise LookupError(field)

    def disk_bytes(self) -> int:
        """Blocks of disk that the data directory takes."""
        return sum(p.stat().st_blocks * 512 for p in self.data.rglob("*") if p.is_file())

    def get(self, path: str, **params) -> bytes:
        """Body of a GET."""
        query = "?" + urllib.parse.urlencode(params) if params else ""
        with urllib.request.urlopen(self.url + path + query, timeout=300) as reply:
            return reply.read()

    def query(self, path: str, **params) -> dict:
        """Decoded JSON of an API call."""
        return json.loads(self.get(path, **params))

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM and wait."""
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(60)
        if self.process.poll() is None:
            self.kill()


def _die_with_parent() -> None:
    """Have the kernel end the server when the benchmark ends, however that comes (Linux)."""
    death_signal = 1
    ctypes.CDLL(None).prctl(death_signal, signal.SIGKILL)


def _start(name: str, command: list[str], url: str, data: Path, ready: str) -> Server:
    log = (data.parent / f"{name}.log").open("ab")
    # As installed: a start finds the bytecode of the one before it. Without, it takes 0.7 s more.
    env = {key: text for key, text in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(
        command,
        stdout=log,
        stderr=log,
        stdin=subprocess.DEVNULL,
        env=env,
        preexec_fn=_die_with_parent,  # no threads here
    )
    log.close()
    server = Server(name, url, process, data)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            server.get(ready)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
        else:
            return server
    process.kill()
    text = (data.parent / f"{name}.log").read_text(errors="replace")[-2000:]
    raise RuntimeError(f"{name} did not become ready:\n{text}")


def start(
    name: str, root: Path, config: str = "", port: int | None = None, *, cached: bool = False
) -> Server | None:
    """Start `gnomon`, `prometheus` or `victoria-metrics` below `root`; None if it is not there.

    `config` is a Prometheus configuration (empty: nothing is scraped). Data lives in
    `root/<name>-data`, so that a second start finds what the first one left. `cached`: those that
    keep results of range queries may do so.
    """
    port = port or free_port()
    listen = f"127.0.0.1:{port}"
    url = f"http://{listen}"
    data = root / f"{name}-data"
    data.mkdir(parents=True, exist_ok=True)
    config_file = root / f"{name}.yml"
    config_file.write_text(config or "global: {}\n")
    if name == "gnomon":
        command = [
            sys.executable, "-m", "gnomon", "serve",
            f"--config.file={config_file}", f"--storage.tsdb.path={data}",
            f"--web.listen-address={listen}", "--web.enable-remote-write-receiver",
            "--web.enable-lifecycle", "--storage.tsdb.retention.time=10y",
            *([] if cached else ["--query.result-cache-size=0B"]),
        ]  # fmt: skip
        return _start(name, command, url, data, "/-/ready")
    program = find(name)
    if program is None:
        return None
    if name == "prometheus":
        command = [
            program,
            f"--config.file={config_file}", f"--storage.tsdb.path={data}",
            f"--web.listen-address={listen}", "--web.enable-remote-write-receiver",
            "--web.enable-lifecycle", "--storage.tsdb.retention.time=10y",
        ]  # fmt: skip
        return _start(name, command, url, data, "/-/ready")
    command = [
        program,
        f"-promscrape.config={config_file}", f"-storageDataPath={data}",
        f"-httpListenAddr={listen}", "-retentionPeriod=10y",
        *([] if cached else ["-search.disableCache"]),
        "-search.latencyOffset=0s", "-promscrape.config.strictParse=false",
    ]  # fmt: skip
    return _start(name, command, url, data, "/health")


@contextlib.contextmanager
def workdir():
    """A temporary folder for one benchmark run."""
    with tempfile.TemporaryDirectory(prefix="gnomon-bench-") as name:
        yield Path(name)


def table(header: list[str], rows: list[list[str]]) -> None:
    """Print rows under a header, columns aligned."""
    widths = [max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        print("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)))
