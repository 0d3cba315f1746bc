from promql.signatures import AGGREGATIONS, EXPERIMENTAL_AGGREGATIONS, SIGNATURES
from promql.syntax import PARAMETER_AGGREGATIONS, ValueType


def test_names_are_sorted_and_their_own():
    assert list(SIGNATURES) == sorted(SIGNATURES)
    assert all(name == signature.name for name, signature in SIGNATURES.items())


def test_a_variadic_function_has_an_argument_to_repeat():
    assert all(s.arguments for s in SIGNATURES.values() if s.variadic)


def test_experimental_functions():
    experimental = [name for name, signature in SIGNATURES.items() if signature.experimental]
    assert experimental == [
        "double_exponential_smoothing", "end", "histogram_quantiles", "info", "mad_over_time",
        "max_of", "min_of", "range", "sort_by_label", "sort_by_label_desc", "start",
        "start_timestamp", "step", "ts_of_first_over_time", "ts_of_last_over_time",
        "ts_of_max_over_time", "ts_of_min_over_time",
    ]  # fmt: skip


def test_aggregators_with_a_parameter():
    assert {op for op, kind in AGGREGATIONS.items() if kind} == PARAMETER_AGGREGATIONS
    assert AGGREGATIONS["count_values"] is ValueType.STRING
    assert AGGREGATIONS.keys() > EXPERIMENTAL_AGGREGATIONS
