"""Change of native histograms over windows, compiled: the raw part of rate and its kin.

From: `windows.py`.   Runs are slices of consecutive rows, oldest first, all of
one series. Where a run has no answer an empty histogram is written, so that rows stay aligned.
Sources: Prometheus' documentation and behaviour. Plain Python twins are in the tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from numba import types

from promql.histograms.addition_kernels import (
    GAUGE,
    HINT,
    INCOMPATIBLE,
    INTS,
    NOT_COUNTER,
    NOT_GAUGE,
    OUT_CODES,
    READ,
    RECONCILED,
    RECONCILED_ADDING,
    RESET,
    WORK,
    Read,
    Work,
    add,
    load,
    lower_schema,
)
from promql.histograms.fold_kernels import FLAGS, WRITE, Write, store, store_nothing
from promql.histograms.reset_kernels import falls
from promql.histograms.side_kernels import CUSTOM
from tsdb.kernel_compilation import kernel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Codes = npt.NDArray[np.int8]
    Flags = npt.NDArray[np.uint8]
    Ints = npt.NDArray[np.int64]


@kernel(
    types.void(READ, INTS, INTS, types.boolean, OUT_CODES, WORK, WRITE, FLAGS),
    error_model="numpy",
)
def change_in_runs(
    source: Read,
    start: Ints,
    stop: Ints,
    is_counter: bool,
    resets: Codes,
    work: Work,
    out: Write,
    flags: Flags,
) -> None:
    """Write last minus first of each run of consecutive rows; for counters resets are undone.

    `resets` as `falls_in_runs` leaves it; it may hold resets known otherwise. If the second falls
    against the first, of the first nothing counts, not even its layout. Answers are gauges.
    """
    for r in range(flags.size):
        flags[r] = 0
        low, last = start[r], stop[r] - 1
        if last <= low:
            store_nothing(out, r)
            continue
        seen = 0
        if is_counter:
            if source.hint[low] == GAUGE or source.hint[last] == GAUGE:
                seen = NOT_COUNTER
        elif source.hint[low] != GAUGE or source.hint[last] != GAUGE:
            seen = NOT_GAUGE
        forgotten = is_counter and resets[low + 1] > 0
        first = low + 1 if forgotten else low
        custom = source.schema[first] == CUSTOM
        mixed = (source.schema[last] == CUSTOM) != custom
        schema = min(source.schema[first], source.schema[last])
        if mixed:
            flags[r] = seen | INCOMPATIBLE
            store_nothing(out, r)
            continue
        if is_counter:
            for h in range(low + 1, last):
                if source.hint[h] == GAUGE:
                    seen |= NOT_COUNTER
                schema = min(schema, source.schema[h])
                mixed |= (source.schema[h] == CUSTOM) != custom
        if mixed:
            # Only this is said then, whatever else was seen.
            flags[r] = INCOMPATIBLE
            store_nothing(out, r)
            continue
        load(work, source, last)
        lower_schema(work, schema, False)
        if add(work, source, first, -1.0, False, forgotten) & RECONCILED:
            seen |= RECONCILED
        if is_counter:
            # A hint speaks once more, against the nothing that the first has become.
            again = forgotten and source.hint[first] == RESET
            if again and add(work, source, first, 1.0, False, True) & RECONCILED:
                seen |= RECONCILED_ADDING
            for h in range(first + 1, last + 1):
                if resets[h] > 0 and add(work, source, h - 1, 1.0, False, False) & RECONCILED:
                    seen |= RECONCILED_ADDING
        work.state[HINT] = GAUGE
        flags[r] = seen
        store(work, out, r, 1.0)


@kernel(
    types.void(READ, INTS, INTS, types.boolean, WORK, WRITE, FLAGS),
    error_model="numpy",
)
def change_of_pairs(
    source: Read,
    before: Ints,
    after: Ints,
    is_counter: bool,
    work: Work,
    out: Write,
    flags: Flags,
) -> None:
    """Write row `after` minus row `before` for each pair, or the former alone after a reset."""
    for r in range(flags.size):
        i, j = after[r], before[r]
        seen = 0
        if is_counter:
            if source.hint[i] == GAUGE or source.hint[j] == GAUGE:
                seen = NOT_COUNTER
        elif source.hint[i] != GAUGE or source.hint[j] != GAUGE:
            seen = NOT_GAUGE
        load(work, source, i)
        if not is_counter or not falls(source, i, source, j):
            seen |= add(work, source, j, -1.0, False, False) & (INCOMPATIBLE | RECONCILED)
        flags[r] = seen
        if seen & INCOMPATIBLE:
            store_nothing(out, r)
            continue
        work.state[HINT] = GAUGE
        store(work, out, r, 1.0)
