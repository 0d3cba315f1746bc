"""What a query holds while it is evaluated: the samples that count towards limit and peak.

From: `evaluate.py`, with what nodes came to.   To: `context.Budget`.

The measure is Prometheus', whose statistics people compare, and it goes by its engine: step by step
an operator or function collects the points of its operands and holds them beside all operands and
the results so far; what aggregates, negates or renames works on what is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from promql.histograms.runs import shown_per_step, window_sizes
from promql.matrix import Matrix, ScalarSteps, StringValue, Windows
from promql.signatures import SIGNATURES
from promql.syntax import Aggregation, Call, Unary, ValueType

if TYPE_CHECKING:
    from promql.matrix import Operand
    from promql.syntax import Expr

_OF_RANGES = frozenset(
    name for name, signature in SIGNATURES.items() if ValueType.MATRIX in signature.arguments
)
_IN_PLACE = frozenset({"label_join", "label_replace"})


def samples_held(result: Operand) -> int:
    """Return how many samples an operand counts for while it is held."""
    match result:
        case Matrix(histograms=histograms):
            floats = int(np.count_nonzero(result.present))
            return floats if histograms is None else floats + int(shown_per_step(histograms).sum())
        case ScalarSteps(values=values):
            return values.size
        case StringValue():
            return 0
        case Windows():
            # Prometheus holds the window of one series at a time; that is the limit's meaning.
            held = int((result.stop - result.first).max(initial=0))
            if result.histograms is None:
                return held
            return held + int(window_sizes(result.histograms).max(initial=0))


def points_at_end(result: Operand) -> int:
    """Return how many points an operand has at the last step: what is collected of it last."""
    match result:
        case Matrix(histograms=histograms):
            floats = int(np.count_nonzero(result.present[:, -1:]))
            if histograms is None:
                return floats
            return floats + int(np.count_nonzero(histograms.present[:, -1:]))
        case ScalarSteps():
            return 1
        case StringValue() | Windows():
            return 0


def held_beside_operands(node: Expr, result: Operand, samples: int, collected: int) -> int:
    """Return what a node holds on top of its operands, just before it lets go of them.

    `samples` is what the result counts for, `collected` how many points its operands have at the
    last step, where results are most.
    """
    match node:
        case Unary():
            return 0
        case Aggregation(op=op):
            return samples + collected if op == "count_values" else 0
        case Call(func=func) if func in _IN_PLACE or func == "absent_over_time":
            return 0
        case Call(func="timestamp") if not collected:
            # Of a selector: it reads for itself, and has as many points as its result.
            return samples + points_at_end(result)
        case Call(func=func) if func in _OF_RANGES:
            return samples
        case _:
            return samples + collected
