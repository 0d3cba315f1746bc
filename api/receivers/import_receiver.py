"""What the receivers of other systems' formats share: storing, counting, and the handler's steps.

From: `import_text.py`, `influx.py`, `graphite.py`, `falcon.py`, which read bodies.
To:   `pushing.py`, in a thread.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

from api.parts import PARTS
from api.receivers.body_decoding import decode
from api.receivers.push_requests import PushRefusedError, pushed
from api.receivers.pushing import PROBLEMS_MAX, refusal_text, refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.receivers.import_lines import Import
    from api.receivers.pushing import PushAppender

FLAG = "web.enable-import-receivers"


@dataclass(frozen=True, slots=True)
class ImportStats:
    """What came in since the start, of one format."""

    requests: int = 0
    samples: int = 0
    refused_samples: int = 0
    bad_lines: int = 0
    ignored_values: int = 0


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """What came of one body. `dropped` are bad lines and refused samples together."""

    stored: int
    dropped: int
    problems: list[str]

    @property
    def text(self) -> str:
        """What the sender is told of what was dropped, "" if nothing was."""
        shown = "\n".join(self.problems[:PROBLEMS_MAX])
        more = self.dropped - min(len(self.problems), PROBLEMS_MAX)
        return f"{shown}\n(and {more} more)" if more > 0 else shown


@dataclass(slots=True)
class ImportReceiver:
    """Stores what readers make of bodies. Threads may call it at once."""

    pushes: PushAppender
    _stats: dict[str, ImportStats] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def stats(self) -> dict[str, ImportStats]:
        """Return the counts of each format at this moment."""
        with self._lock:
            return dict(self._stats)

    def store(self, format_name: str, found: Import) -> ImportOutcome:
        """Store what a body says. Raises WriteFailedError, ClosedError."""
        problems = list(found.faults.texts)
        stored = dropped = 0
        for batch in found.batches:
            _, statuses = self.pushes.floats(batch.samples)
            bad = refused(statuses)
            stored += int(statuses.size - bad.size)
            dropped += int(bad.size)
            problems += [
                f"{found.faults.unit} {batch.line_of(sample)}: "
                + refusal_text(batch.samples, sample, int(statuses[sample]))
                for sample in bad[:PROBLEMS_MAX].tolist()
            ]
        if found.metadata:
            self.pushes.storage.append_metadata(list(found.metadata.values()))
        with self._lock:
            old = self._stats.get(format_name, ImportStats())
            self._stats[format_name] = ImportStats(
                requests=old.requests + 1,
                samples=old.samples + stored,
                refused_samples=old.refused_samples + dropped,
                bad_lines=old.bad_lines + found.faults.count,
                ignored_values=old.ignored_values + found.ignored,
            )
        return ImportOutcome(stored, dropped + found.faults.count, problems)


IMPORTS: web.AppKey[ImportReceiver] = web.AppKey("IMPORTS", ImportReceiver)


async def receive(
    request: web.Request, format_name: str, read: Callable[[bytes, int], Import]
) -> ImportOutcome:
    """Store a request's body, which `read(body, now_ms)` reads, in a thread.

    Raises PushRefusedError, also where receivers are not switched on.
    """
    parts = request.app[PARTS]
    if not parts.options.enable_import_receivers:
        raise PushRefusedError(f"receiver needs to be enabled with --{FLAG}", 404)
    encoding = request.headers.get("Content-Encoding", "").strip().lower() or "identity"

    def work(body: bytes) -> ImportOutcome:
        found = read(decode(body, encoding), parts.pushes.now_ms)
        return request.app[IMPORTS].store(format_name, found)

    return await pushed(request, work)


def extra_labels(request: web.Request) -> dict[str, str]:
    """Return the labels that `extra_label=name=value` adds to all series of a request.

    Raises PushRefusedError.
    """
    found = {}
    for text in request.query.getall("extra_label", []):
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise PushRefusedError(f"extra_label must be name=value, got {text!r}", 400)
        found[name] = value
    return found
