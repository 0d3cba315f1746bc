"""Every case of Prometheus' own test scripts, one by one, on the real engine and storage."""

import pytest

from tests.promql.corpus import cases, outcomes

CASES = cases()


def test_the_corpus_is_there(corpora):
    assert len(CASES) > 1000


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{case.file}:{case.line}") for case in CASES]
)
def test_case(case):
    problem = outcomes(case.file)[case.line].problem
    assert problem is None, f"{case.expr}\n{problem}"
