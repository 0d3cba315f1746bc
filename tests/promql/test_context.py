import threading
import time

import pytest

from promql.context import Budget
from promql.errors import CanceledError, QueryTimeoutError, TooManySamplesError


def budget(samples_max=100, seconds=60.0, canceled=None):
    return Budget(samples_max, time.monotonic() + seconds, canceled or threading.Event())


def test_the_peak_is_the_most_held_at_once():
    ours = budget()
    ours.take(60)
    ours.give_back(50)
    ours.take(20)
    assert (ours.held, ours.peak_samples) == (30, 60)


def test_more_than_the_limit_is_refused():
    ours = budget()
    ours.take(100)
    with pytest.raises(TooManySamplesError):
        ours.take(1)


def test_settling_replaces_what_a_node_took_by_its_answer():
    ours = budget()
    ours.take(10)
    mark = ours.held
    ours.take(50)
    ours.take(30)
    ours.settle(mark, 20)
    assert (ours.held, ours.peak_samples) == (30, 90)


def test_cells_are_bounded_by_twice_the_limit_but_a_million_is_free():
    ours = budget(samples_max=1_000_000)
    ours.reserve(2_000_000)
    with pytest.raises(TooManySamplesError):
        ours.reserve(2_000_001)
    budget(samples_max=1).reserve(1_000_000)


def test_the_brakes():
    budget().check()
    with pytest.raises(QueryTimeoutError):
        budget(seconds=-1.0).check()
    canceled = threading.Event()
    canceled.set()
    with pytest.raises(CanceledError):
        budget(canceled=canceled).check()
