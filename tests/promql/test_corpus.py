"""Every case of Prometheus' own test scripts, one by one, on the real engine and storage."""

import pytest

from tests.promql.expected_failures import cases, expected, outcomes

CASES = cases()
EXPECTED = expected()


def test_the_corpus_is_there(corpora):
    assert len(CASES) > 1000


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{case.file}:{case.line}") for case in CASES]
)
def test_case(case):
    problem = outcomes(case.file)[case.line].problem
    if case.id in EXPECTED:
        assert problem is not None, f"passes now: take {case.id} off the list of expected failures"
        pytest.xfail(problem)
    assert problem is None, f"{case.expr}\n{problem}"


def test_the_list_of_expected_failures_names_cases_only(corpora):
    assert {case.id for case in CASES} >= EXPECTED
