"""What every evaluating function may know about its query, and the brakes it must honour."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from promql.errors import CanceledError, QueryTimeoutError, TooManySamplesError

if TYPE_CHECKING:
    import threading

    import numpy as np
    import numpy.typing as npt

    from promql.annotations import Annotations
    from promql.labels import QuerySymbols


class Budget:
    """Deadline, cancellation and the sample limit of one query.

    Long loops call `check()` between chunks of series, and `take()` before they allocate a matrix.
    """

    def __init__(self, samples_max: int, deadline_s: float, canceled: threading.Event) -> None:
        self._samples_max, self._deadline_s, self._canceled = samples_max, deadline_s, canceled
        self._held = 0
        self.peak_samples = 0

    def check(self) -> None:
        """Raise `QueryTimeoutError` or `CanceledError` if the query must end now."""
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


@dataclass(frozen=True, slots=True)
class EvalContext:
    """The query as evaluation sees it. A subquery gets a context with steps of its own.

    Shapes: `steps_ms` int64[T], rising by `step_ms` (one step for an instant query).
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

    @property
    def step_count(self) -> int:
        """T."""
        return int(self.steps_ms.size)
