import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from promql import rows
from promql.rows import RowRunner


@pytest.fixture(params=["alone", "with helpers"])
def runner(request):
    if request.param == "alone":
        yield RowRunner()
        return
    with ThreadPoolExecutor(2) as executor:
        yield RowRunner(executor, 2)


def fine():
    return None


@pytest.mark.parametrize("count", [0, 1, 7, 1000])
@pytest.mark.parametrize("cost", [0, 10, rows.PARALLEL_COST, 50 * rows.CHUNK_COST])
def test_every_row_is_done_once(runner, count, cost):
    done = []
    runner.run(count, cost, lambda low, high: done.extend(range(low, high)), fine)
    assert sorted(done) == list(range(count))


def test_much_work_is_cut_so_that_the_deadline_is_looked_at(runner):
    looks = []
    runner.run(100, 20 * rows.CHUNK_COST, lambda low, high: None, lambda: looks.append(1))
    assert len(looks) >= 20


def test_a_check_that_fails_ends_the_work(runner):
    done = []

    def check():
        if done:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        runner.run(1000, 1000 * rows.CHUNK_COST, lambda low, high: done.append(low), check)
    assert len(done) < 10


def test_what_fails_in_a_helper_reaches_the_caller():
    caller = threading.get_ident()
    helper_began = threading.Event()

    def work(low, high):
        if threading.get_ident() != caller:
            helper_began.set()
            raise ValueError("in a helper")
        helper_began.wait(10)

    with ThreadPoolExecutor(1) as executor, pytest.raises(ValueError, match="in a helper"):
        RowRunner(executor, 1).run(100, rows.PARALLEL_COST, work, fine)


def test_busy_helpers_are_not_waited_for():
    release = threading.Event()
    done = []
    with ThreadPoolExecutor(1) as executor:
        executor.submit(release.wait)
        RowRunner(executor, 1).run(
            10, rows.PARALLEL_COST, lambda low, high: done.extend(range(low, high)), fine
        )
        release.set()
    assert sorted(done) == list(range(10))
