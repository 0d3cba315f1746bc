"""The runner must fail what is wrong: scripts whose expectation does not hold, one way each."""

import pytest

from gnomon.promqltest.embedded import make_evaluator, make_store
from gnomon.promqltest.runner import run

LOAD = 'load 1m\n  m{a="1"} 1 2 3 4 5 6\n  m{a="2"} 10 20 30 _ _ stale\n  h {{sum:1}}x5\n\n'


def problems(text):
    return [outcome.problem for outcome in run(text, make_store, make_evaluator)]


@pytest.mark.parametrize(
    "case",
    [
        pytest.param('eval instant at 2m m\n  m{a="1"} 3\n  m{a="2"} 30\n', id="a vector"),
        pytest.param('eval instant at 5m m\n  m{a="1"} 6\n', id="a stale series is gone"),
        pytest.param("eval instant at 2m sum(m)\n  {} 33\n", id="an aggregation"),
        pytest.param("eval instant at 2m 1 + 1\n  2\n", id="a scalar"),
        pytest.param("eval instant at 2m nothing\n", id="nothing where nothing is expected"),
        pytest.param('eval instant at 2m "x"\n  expect string "x"\n', id="a string"),
        pytest.param(
            'eval range from 0 to 3m step 1m m{a="2"}\n  m{a="2"} 10 20 30 30\n', id="a matrix"
        ),
        pytest.param("eval instant at 2m h\n  h {{sum:1}}\n", id="a native histogram"),
        pytest.param(
            "eval instant at 2m h\n  h {{sum:1 counter_reset_hint:not_reset}}\n", id="its hint"
        ),
        pytest.param(
            "eval range from 0 to 2m step 1m h\n  h {{sum:1}}x2\n", id="a matrix of histograms"
        ),
        pytest.param(
            "eval instant at 2m h[2m]\n  expect range vector from 1m to 2m step 1m\n"
            "  h {{sum:1}} {{sum:1}}\n",
            id="a range vector of histograms",
        ),
        pytest.param(
            "eval instant at 2m sum(m) by (a) == on() m\n  expect fail\n", id="an expected failure"
        ),
        pytest.param(
            'eval instant at 2m m{a="1"}[2m]\n  expect range vector from 1m to 2m step 1m\n'
            '  m{a="1"} 2 3\n',
            id="a range vector",
        ),
    ],
)
def test_what_holds_passes(case):
    assert problems(LOAD + case) == [None]


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        pytest.param('eval instant at 2m m\n  m{a="1"} 3\n', "unexpected", id="a series too many"),
        pytest.param("eval instant at 2m m\n", "unexpected", id="something instead of nothing"),
        pytest.param(
            'eval instant at 2m m\n m{a="1"} 3\n m{a="2"} 30\n m{a="3"} 1\n',
            "missing",
            id="a series too few",
        ),
        pytest.param(
            'eval instant at 2m m\n m{a="1"} 3.1\n m{a="2"} 30\n', "expected 3.1", id="a value"
        ),
        pytest.param("eval instant at 2m 1\n  {} 1\n", "got a scalar", id="a scalar is no vector"),
        pytest.param("eval instant at 2m vector(1)\n  1\n", "", id="a vector is no scalar"),
        pytest.param("eval instant at 2m 2\n  3\n", "expected the scalar", id="another scalar"),
        pytest.param('eval instant at 2m "x"\n  expect string "y"\n', "'y'", id="another string"),
        pytest.param("eval instant at 2m m\n  expect fail\n", "got a result", id="no failure"),
        pytest.param(
            "eval instant at 2m m == on() m\n  expect fail msg: something else\n",
            "something else",
            id="another failure",
        ),
        pytest.param(
            "eval instant at 2m m == on() m\n", "failed:", id="a failure that is not expected"
        ),
        pytest.param(
            'eval instant at 2m m{a="1"}\n expect warn\n m{a="1"} 3\n',
            "expected a warning",
            id="no warning",
        ),
        pytest.param(
            'eval range from 0 to 2m step 1m m{a="1"}\n  m{a="1"} 1 2\n',
            "points",
            id="a point too many",
        ),
        pytest.param(
            'eval range from 0 to 2m step 1m m{a="1"}\n  m{a="1"} 1 2 4\n',
            "at 120s",
            id="a point of another value",
        ),
        pytest.param(
            "eval instant at 2m h\n  h {{sum:2}}\n", "sum:2", id="a histogram of another sum"
        ),
        pytest.param(
            "eval instant at 2m h\n  h {{sum:1 counter_reset_hint:reset}}\n",
            "counter_reset_hint",
            id="a histogram of another hint",
        ),
        pytest.param("eval instant at 2m h\n  h 1\n", "sum:1", id="a histogram for a float"),
        pytest.param(
            'eval instant at 2m m{a="1"}\n  m{a="1"} {{}}\n', "got 3.0", id="a float for one"
        ),
        pytest.param(
            "eval range from 0 to 1m step 1m h\n  h {{sum:1}} {{sum:3}}\n",
            "at 60s",
            id="another histogram in a matrix",
        ),
        pytest.param(
            "load 10m\n  x {{schema:1}}+{{count:1 buckets:[1]}}x1\n\neval instant at 0 x\n",
            "finer schema",
            id="a load that cannot be",
        ),
        pytest.param("eval instant at 2m m +\n", "does not parse", id="no expression"),
        pytest.param(
            "eval instant at 2m 7\n  expect range vector from 1m to 2m step 1m\n",
            "expected a range vector",
            id="no range vector",
        ),
    ],
)
def test_what_does_not_hold_fails(case, reason):
    (problem,) = problems(LOAD + case)
    assert problem is not None
    assert reason in problem


def test_clear_empties_the_store():
    script = LOAD + 'eval instant at 0 m{a="1"}\n  m{a="1"} 1\n\nclear\n\neval instant at 0 m\n'
    assert problems(script) == [None, None]


def test_of_a_series_written_twice_in_a_load_the_last_line_counts():
    script = "load 1m\n  a 1 2\n  b 5\n  a 3\n\neval instant at 0 a\n  a 3\n"
    assert problems(script) == [None]


def test_order_counts_only_where_it_is_asked_for():
    script = LOAD + 'eval instant at 2m sort_desc(m)\n  expect ordered\n  m{a="1"} 3\n'
    (problem,) = problems(script + '  m{a="2"} 30\n')
    assert problem is not None


class Moody:
    """An evaluator whose ranges say something else than its instants."""

    def __init__(self, reader):
        self._engine = make_evaluator(reader)

    def instant(self, expr, time_ms):
        return self._engine.instant(expr, time_ms)

    def range(self, expr, start_ms, end_ms, step_ms):
        return self._engine.range(f"{expr} > 3", start_ms, end_ms, step_ms)


def test_a_range_evaluation_that_differs_is_noticed():
    case = 'eval instant at 2m m{a="1"}\n  m{a="1"} 3\n'
    (outcome,) = run(LOAD + case, make_store, Moody)
    assert "the middle of a range" in outcome.problem


class Broken(Moody):
    def instant(self, expr, time_ms):
        raise RuntimeError("oh")


def test_a_crash_fails_one_case_only():
    case = "eval instant at 2m m\n\neval range from 0 to 1m step 1m nothing\n"
    outcomes = list(run(LOAD + case, make_store, Broken))
    assert [outcome.problem for outcome in outcomes] == ["crashed: RuntimeError: oh", None]
