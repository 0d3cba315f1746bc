"""Files of JSON lines that the configuration names: of queries, and of scrapes that failed.

From: `api/query_log.py`, `scraper/loop.py`.   To: the files; `telemetry.py` asks for the counts.
A line has the frame of Prometheus' (Go's slog): time, level, source, msg, then what it is about.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from gnomon.config.model import Config

_log = logging.getLogger(__name__)


class JsonLines:
    """One file, to which every thread may append; a line is written whole or not at all."""

    def __init__(self, path: Path, *, level: str, source: str) -> None:
        """Open the file, or make it. Raises OSError."""
        self._path, self._level, self._source = path, level, source
        self._file = path.open("ab", buffering=0)
        self._lock = threading.Lock()
        self._failing = False
        self.failures = 0

    def write(self, message: str, fields: Mapping[str, object]) -> None:
        """Append a line. What the disk refuses is counted, and logged when that begins."""
        line = {
            "time": rfc3339_nano(time.time_ns()),
            "level": self._level,
            "source": self._source,
            "msg": message,
            **fields,
        }
        body = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)
        with self._lock:
            if self._file.closed:
                return
            try:
                self._file.write(body)
            except OSError as error:
                self.failures += 1
                if not self._failing:
                    _log.error("cannot write to %s: %s", self._path, error)
                self._failing = True
            else:
                self._failing = False

    def close(self) -> None:
        """Close the file; later lines are dropped."""
        with self._lock:
            self._file.close()


class JsonLogs:
    """The files that one configuration names; a reload opens them anew, as rotating them needs."""

    def __init__(self) -> None:
        self.queries: JsonLines | None = None
        self._failures: dict[Path, JsonLines] = {}
        self._query_failures = 0

    @property
    def query_failures(self) -> int:
        """How many lines of the query log could not be written, in all."""
        return self._query_failures + (self.queries.failures if self.queries else 0)

    def follow(self, config: Config) -> None:
        """Write to the files that a configuration names from now on.

        Raises OSError, and then goes on with those of before.
        """
        jobs = [job.job.failure_log for job in config.jobs]
        common = config.global_config.scrape_failure_log_file
        self._open(
            config.global_config.query_log_file,
            {path for path in [*jobs, common] if path is not None},
        )

    def _open(self, queries: Path | None, failures: Iterable[Path]) -> None:
        opened: list[JsonLines] = []
        try:
            query_log = None
            if queries is not None:
                query_log = JsonLines(queries, level="INFO", source="api/query_log.py")
                opened.append(query_log)
            scrape_logs = {}
            for path in failures:
                scrape_logs[path] = JsonLines(path, level="ERROR", source="scraper/loop.py")
                opened.append(scrape_logs[path])
        except OSError:
            for lines in opened:
                lines.close()
            raise
        before = [*self._failures.values(), *([self.queries] if self.queries else [])]
        self._query_failures = self.query_failures
        self.queries, self._failures = query_log, scrape_logs
        for lines in before:
            lines.close()

    def scrape_failed(self, path: Path, message: str, job_name: str, target: str) -> None:
        """Tell a failed scrape to one of the files."""
        lines = self._failures.get(path)
        if lines is not None:
            lines.write(message, {"job_name": job_name, "target": target})

    def close(self) -> None:
        """Close all of them."""
        self._open(None, ())


def rfc3339_nano(time_ns: int) -> str:
    """Return a time as Go's RFC3339Nano: a fraction without zeros at its end.

    >>> rfc3339_nano(1_700_000_000_500_000_000), rfc3339_nano(0)
    ('2023-11-14T22:13:20.5Z', '1970-01-01T00:00:00Z')
    """
    seconds, fraction = divmod(time_ns, 1_000_000_000)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return text + (f".{fraction:09d}".rstrip("0") if fraction else "") + "Z"
