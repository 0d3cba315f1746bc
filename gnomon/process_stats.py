"""Facts of this process as the operating system has them; Linux' /proc.

To: `telemetry.py`, as `process_*`. Source: the metric names of Prometheus' client libraries.
"""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

PAGE_BYTES = resource.getpagesize()
_PROC = Path("/proc/self")


@dataclass(frozen=True, slots=True)
class ProcessStats:
    """Times in seconds (`start_time_s` since the epoch), memory in bytes; 0 where not known."""

    cpu_s: float
    resident_bytes: int
    virtual_bytes: int
    virtual_bytes_max: int
    open_fds: int
    fds_max: int
    threads: int
    start_time_s: float
    received_bytes: int = 0
    sent_bytes: int = 0
    """Over the network, by everything in the process' network namespace."""


def process_stats() -> ProcessStats:
    """Read the numbers now."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft_fds, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft_memory, _ = resource.getrlimit(resource.RLIMIT_AS)
    try:
        virtual_pages, resident_pages = map(int, (_PROC / "statm").read_text().split()[:2])
        stat = (_PROC / "stat").read_text().rpartition(")")[2].split()
        open_fds = len(os.listdir(_PROC / "fd"))  # noqa: PTH208 - names only, no Path each
        start_time_s = _boot_time_s() + int(stat[19]) / os.sysconf("SC_CLK_TCK")
        threads = int(stat[17])
        received, sent = _network_bytes()
    except OSError:
        # Not Linux: what the standard library knows, and zeros.
        virtual_pages = open_fds = threads = received = sent = 0
        resident_pages, start_time_s = usage.ru_maxrss * 1024 // PAGE_BYTES, 0.0
    return ProcessStats(
        cpu_s=usage.ru_utime + usage.ru_stime,
        resident_bytes=resident_pages * PAGE_BYTES,
        virtual_bytes=virtual_pages * PAGE_BYTES,
        # Without a limit Prometheus' clients show the largest uint64.
        virtual_bytes_max=2**64 - 1 if soft_memory == resource.RLIM_INFINITY else soft_memory,
        open_fds=open_fds,
        fds_max=soft_fds,
        threads=threads,
        start_time_s=start_time_s,
        received_bytes=received,
        sent_bytes=sent,
    )


def _network_bytes() -> tuple[int, int]:
    """Return what came in and went out; the file has pairs of lines, of names and of numbers."""
    try:
        lines = (_PROC / "net/netstat").read_text().splitlines()
    except FileNotFoundError:
        return 0, 0
    found: dict[str, int] = {}
    for names, numbers in pairwise(lines):
        if names.startswith("IpExt:") and numbers.startswith("IpExt:"):
            found.update(zip(names.split()[1:], map(int, numbers.split()[1:]), strict=False))
    return found.get("InOctets", 0), found.get("OutOctets", 0)


def _boot_time_s() -> float:
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return 0.0
