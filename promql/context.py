"""What every evaluating function may know about its query, and the brakes it must honour."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from promql.errors import CanceledError, QueryTimeoutError, TooManySamplesError
from promql.rows import RowRunner

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    import numpy.typing as npt

    from promql.annotations import Annotations
    from promql.labels import QuerySymbols


def go_on() -> None:
    """Pause not at all: there is nobody else."""


class Budget:
    """Deadline, cancellation and the sample limit of one query.

    Long loops call `check()` between chunks of series, `take()` before they hold more samples.
    The evaluator settles the account after every node: what is held then is the node's answer,
    so a function that takes need not give back. Held are the points that are present; a matrix
    may have many more cells, and `reserve()` bounds those. `pause` is called where the query can
    let others have their turn: at every check.
    """

    def __init__(
        self,
        samples_max: int,
        deadline_s: float,
        canceled: threading.Event,
        pause: Callable[[], None] = go_on,
    ) -> None:
        self._samples_max, self._deadline_s, self._canceled = samples_max, deadline_s, canceled
        self._pause = pause
        self._held = 0
        self.peak_samples = 0

    @property
    def held(self) -> int:
        """The samples held now; the evaluator's mark to settle back to."""
        return self._held

    def settle(self, mark: int, samples: int) -> None:
        """Replace all that was taken since `held` was `mark` by one answer of `samples`."""
        self._held = mark
        self.take(samples)

    def reserve(self, cells: int) -> None:
        """Raise `TooManySamplesError` before a matrix is allocated that is far over the limit.

        A cell costs 9 bytes, a point of Prometheus' limit 16, and not every cell is present: a
        matrix may have twice as many cells as the limit has points; a million costs nothing.
        """
        if cells > max(2 * self._samples_max, 1_000_000):
            raise TooManySamplesError

    def check(self) -> None:
        """Raise `QueryTimeoutError` or `CanceledError` if the query must end now."""
        self._pause()
        if self._canceled.is_set():
            raise CanceledError
        if time.monotonic() > self._deadline_s:
            raise QueryTimeoutError

    def take(self, samples: int) -> None:
        """Account for samples about to be held; raises `TooManySamplesError` over the limit."""
        self._held += samples
        if self._held > self._samples_max:
            raise TooManySamplesError
        self.peak_samples = max(self.peak_samples, self._held)

    def give_back(self, samples: int) -> None:
        """Account for samples no longer held."""
        self._held -= samples


class SampleCounts:
    """How many stored samples each step looked at: the query's `totalQueryableSamples`."""

    def __init__(self, step_count: int) -> None:
        self.per_step: npt.NDArray[np.int64] = np.zeros(step_count, dtype=np.int64)

    @property
    def total(self) -> int:
        """Of all steps."""
        return int(self.per_step.sum())


@dataclass(frozen=True, slots=True)
class EvalContext:
    """The query as evaluation sees it. A subquery gets a context with steps of its own.

    Shapes: `steps_ms` int64[T], rising by `step_ms` (one step for an instant query).
    `start_ms`, `end_ms` and `query_step_ms` are those of the whole query, also in a subquery.
    `counts` has the steps of this context; `rows` runs kernels over many series.
    """

    steps_ms: npt.NDArray[np.int64]
    step_ms: int
    start_ms: int
    end_ms: int
    lookback_ms: int
    symbols: QuerySymbols
    annotations: Annotations
    budget: Budget
    delayed_name_removal: bool = False
    default_subquery_step_ms: int = 60_000
    features: frozenset[str] = field(default_factory=frozenset)
    query_step_ms: int = 0
    counts: SampleCounts = field(default_factory=lambda: SampleCounts(1))
    rows: RowRunner = field(default_factory=RowRunner)

    @property
    def step_count(self) -> int:
        """T."""
        return int(self.steps_ms.size)
