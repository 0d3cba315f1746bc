"""Every function of PromQL: what it takes and what it yields.

To: `parsing/expression_actions.py`, `check.py`, `tree_json.py`, and the API's list of functions.
Whoever implements functions asserts that both tables name the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass

from promql.syntax import ValueType


@dataclass(frozen=True, slots=True)
class Signature:
    """One function.

    `variadic` is how many arguments may be added: 0 none; n > 0: the last of `arguments` may be
    left out or come up to n times; -1: any number of times, or not at all.
    """

    name: str
    arguments: tuple[ValueType, ...]
    returns: ValueType
    variadic: int = 0
    experimental: bool = False


_S, _V, _M, _T = ValueType.SCALAR, ValueType.VECTOR, ValueType.MATRIX, ValueType.STRING


def _names(text: str) -> list[str]:
    return text.split()


def _table() -> dict[str, Signature]:
    of_vector = _names(
        "abs absent acos acosh asin asinh atan atanh ceil cos cosh deg exp floor histogram_avg "
        "histogram_count histogram_stddev histogram_stdvar histogram_sum ln log10 log2 rad sgn sin "
        "sinh sort sort_desc sqrt tan tanh timestamp"
    )
    of_matrix = _names(
        "absent_over_time avg_over_time changes count_over_time delta deriv first_over_time idelta "
        "increase irate last_over_time max_over_time min_over_time present_over_time rate resets "
        "stddev_over_time stdvar_over_time sum_over_time"
    )
    of_matrix_experimental = _names(
        "mad_over_time ts_of_first_over_time ts_of_last_over_time ts_of_max_over_time "
        "ts_of_min_over_time"
    )
    of_maybe_vector = _names(
        "day_of_month day_of_week day_of_year days_in_month hour minute month year"
    )
    signatures = [
        *(Signature(name, (_V,), _V) for name in of_vector),
        *(Signature(name, (_M,), _V) for name in of_matrix),
        *(Signature(name, (_M,), _V, experimental=True) for name in of_matrix_experimental),
        *(Signature(name, (_V,), _V, variadic=1) for name in of_maybe_vector),
        *(Signature(name, (), _S, experimental=True) for name in ("start", "end", "step", "range")),
        *(Signature(name, (_S, _S), _S, experimental=True) for name in ("min_of", "max_of")),
        *(
            Signature(name, (_V, _T), _V, variadic=-1, experimental=True)
            for name in ("sort_by_label", "sort_by_label_desc")
        ),
        Signature("clamp", (_V, _S, _S), _V),
        Signature("clamp_max", (_V, _S), _V),
        Signature("clamp_min", (_V, _S), _V),
        Signature("double_exponential_smoothing", (_M, _S, _S), _V, experimental=True),
        Signature("histogram_fraction", (_S, _S, _V), _V),
        Signature("histogram_quantile", (_S, _V), _V),
        Signature("histogram_quantiles", (_V, _T, _S, _S), _V, variadic=9, experimental=True),
        Signature("info", (_V, _V), _V, variadic=1, experimental=True),
        Signature("label_join", (_V, _T, _T, _T), _V, variadic=-1),
        Signature("label_replace", (_V, _T, _T, _T, _T), _V),
        Signature("pi", (), _S),
        Signature("predict_linear", (_M, _S), _V),
        Signature("quantile_over_time", (_S, _M), _V),
        Signature("round", (_V, _S), _V, variadic=1),
        Signature("scalar", (_V,), _S),
        Signature("start_timestamp", (_V,), _V, experimental=True),
        Signature("time", (), _S),
        Signature("vector", (_S,), _V),
    ]
    return {signature.name: signature for signature in sorted(signatures, key=lambda s: s.name)}


SIGNATURES: dict[str, Signature] = _table()
"""All functions by name, sorted."""

AGGREGATIONS: dict[str, ValueType | None] = {
    "sum": None,
    "avg": None,
    "count": None,
    "min": None,
    "max": None,
    "group": None,
    "stddev": None,
    "stdvar": None,
    "topk": _S,
    "bottomk": _S,
    "quantile": _S,
    "count_values": _T,
    "limitk": _S,
    "limit_ratio": _S,
}
"""All aggregators with the type of their parameter, None where they take none."""

EXPERIMENTAL_AGGREGATIONS = frozenset({"limitk", "limit_ratio"})
