"""Our own samples and those of other servers, as one storage to read from.

From: the query engine, through `fan_out.py`.   To: storage; `client.py`.

What is asked of which server follows the configuration, as it is at that moment: those without
`read_recent` are asked only for what is older than our own data, those with `required_matchers`
only where a query has them. Of samples that both have, ours count. A server that fails costs the
query a warning, never its answer.
Source: Prometheus' remote read: documentation, and its fan-out's rules.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from api.wire import WireError
from gnomon.remote_read.client import Question, RemoteClient, RemoteReadError
from gnomon.remote_read.messages import encode_request, to_batch
from tsdb.errors import TooManySamplesError
from tsdb.interface import ALL_TIMES_MS, Matcher, MatchOp, Selection
from tsdb.merge import merge_batches, merge_labels
from tsdb.symbols import SymbolTable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gnomon.remote_read.messages import Series
    from gnomon.remote_read.settings import RemoteReadSettings
    from tsdb.interface import LabelColumns, SeriesBatch, Storage

RECENT_MARGIN_MS = 4 * 3600 * 1000
"""Our data is trusted from so long after its begin, as in Prometheus: two blocks' time."""


@dataclass(frozen=True, slots=True)
class RemoteReadStats:
    """What one server was asked for since the start."""

    queries: int = 0
    failed_queries: int = 0
    samples: int = 0


class RemoteReads:
    """Reads storage and the configured servers. Thread-safe.

    `endpoints` and `external_labels` say what holds now. `start_ms` says when our data begins,
    None while there is none.
    """

    def __init__(
        self,
        local: Storage,
        endpoints: Callable[[], Sequence[RemoteReadSettings]],
        external_labels: Mapping[str, str],
        start_ms: Callable[[], int | None],
    ) -> None:
        self._local, self._endpoints = local, endpoints
        self._external_labels, self._start_ms = external_labels, start_ms
        self._client: RemoteClient | None = None
        self._lock = threading.Lock()
        self._stats: dict[str, RemoteReadStats] = {}

    def stats(self) -> dict[str, RemoteReadStats]:
        """Return the counts of each server, by its name or else its URL without password."""
        with self._lock:
            return dict(self._stats)

    def _count(self, endpoint: RemoteReadSettings, answer: Series | RemoteReadError) -> None:
        failed = isinstance(answer, RemoteReadError)
        with self._lock:
            name = endpoint.shown_name
            old = self._stats.get(name, RemoteReadStats())
            self._stats[name] = RemoteReadStats(
                old.queries + 1,
                old.failed_queries + failed,
                old.samples + (0 if isinstance(answer, RemoteReadError) else answer.sample_count),
            )

    def close(self) -> None:
        """End connections and thread; queries after this begin new ones."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def select(
        self, selections: Sequence[Selection], *, samples_max: int | None = None
    ) -> list[SeriesBatch]:
        """See `SeriesReader.select`."""
        asked = self._asked(selections)
        if asked:  # to be merged with what others have
            selections = [replace(each, deferred=False) for each in selections]
        own = self._local.select(selections, samples_max=samples_max)
        if not asked:
            return own
        left = None
        if samples_max is not None:
            left = max(0, samples_max - sum(batch.sample_count for batch in own))
        symbols = SymbolTable()
        found: list[list[SeriesBatch]] = [[batch] for batch in own]
        warnings: list[str] = []
        questions, dropped = self._questions(asked, left)
        answers = self._connected().ask(questions)
        total = 0
        for (number, endpoint, selection), answer, labels in zip(
            asked, answers, dropped, strict=True
        ):
            self._count(endpoint, answer)
            if isinstance(answer, RemoteReadError):
                warnings.append(str(answer))
                continue
            if answer.problem:
                warnings.append(f"remote_read: some histograms are left out: {answer.problem}")
            total += answer.sample_count
            if left is not None and total > left:
                raise TooManySamplesError(left)
            try:
                found[number].append(to_batch(answer, selection, labels, symbols))
            except WireError as error:
                warnings.append(f"remote_read: {error}")
        merged = [merge_batches(batches, symbols) for batches in found]
        return [replace(merged[0], warnings=tuple(dict.fromkeys(warnings))), *merged[1:]]

    def series(
        self, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> LabelColumns:
        """See `SeriesReader.series`. A server that fails is left out, and counted."""
        own = self._local.series(matcher_sets, start_ms, end_ms)
        asked = self._asked([Selection(tuple(each), start_ms, end_ms) for each in matcher_sets])
        if not asked:
            return own
        # Not told that it is for series: then some would answer without samples, and what has
        # none is taken for nothing.
        questions, dropped = self._questions(asked, None)
        symbols = SymbolTable()
        found = [own]
        for (_, endpoint, selection), answer, labels in zip(
            asked, self._connected().ask(questions), dropped, strict=True
        ):
            self._count(endpoint, answer)
            if not isinstance(answer, RemoteReadError):
                with contextlib.suppress(WireError):
                    found.append(to_batch(answer, selection, labels, symbols).labels)
        return merge_labels(found, symbols)[0]

    def _asked(
        self, selections: Sequence[Selection]
    ) -> list[tuple[int, RemoteReadSettings, Selection]]:
        """Return what is asked of whom, with the number of the selection that it is a part of."""
        endpoints = self._endpoints()
        return [
            (number, endpoint, selection)
            for number, whole in enumerate(selections)
            for endpoint in endpoints
            if (selection := self._part(endpoint, whole)) is not None
        ]

    def _questions(
        self, asked: Sequence[tuple[int, RemoteReadSettings, Selection]], samples_max: int | None
    ) -> tuple[list[Question], list[dict[str, str]]]:
        """Return the questions, and the labels to be taken off each answer."""
        questions, dropped = [], []
        for _, endpoint, selection in asked:
            labels = self._added_labels(endpoint, selection)
            matchers = [Matcher(name, MatchOp.EQUAL, value) for name, value in labels.items()]
            message = encode_request(selection, (*selection.matchers, *matchers))
            questions.append(Question(endpoint, message, samples_max))
            dropped.append(labels)
        return questions, dropped

    def oldest_change_ms(self, ticket: int) -> int | None:
        """Return as `ChangeSource` does: other servers do not tell of changes."""
        return ALL_TIMES_MS if self._endpoints() else self._local.oldest_change_ms(ticket)

    def _part(self, endpoint: RemoteReadSettings, whole: Selection) -> Selection | None:
        """Return what a server is asked of a selection, None where it is nothing."""
        equal = {m.name: m.value for m in whole.matchers if m.op is MatchOp.EQUAL}
        if any(equal.get(name) != value for name, value in endpoint.required_matchers.items()):
            return None
        if endpoint.read_recent:
            return whole
        start_ms = self._start_ms()
        if start_ms is None:
            return whole
        trusted_ms = start_ms + RECENT_MARGIN_MS
        if whole.start_ms > trusted_ms:
            return None
        return replace(whole, end_ms=min(whole.end_ms, trusted_ms))

    def _added_labels(self, endpoint: RemoteReadSettings, selection: Selection) -> dict[str, str]:
        """Return the external labels to ask for, and to take off what comes."""
        if not endpoint.filter_external_labels:
            return {}
        asked = {matcher.name for matcher in selection.matchers}
        return {n: v for n, v in self._external_labels.items() if n not in asked}

    def _connected(self) -> RemoteClient:
        with self._lock:
            if self._client is None:
                self._client = RemoteClient()
            return self._client
