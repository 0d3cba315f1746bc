import threading

import pytest

from tsdb.workers import Workers


@pytest.fixture(name="workers", params=[0, 1, 3])
def _workers(request):
    workers = Workers(request.param)
    yield workers
    workers.close()


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_every_task_is_done_once(workers, count):
    done = []
    workers.run([lambda n=n: done.append(n) for n in range(count)])
    assert sorted(done) == list(range(count))


def test_what_a_task_raises_reaches_the_caller(workers):
    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        workers.run([fail, *[lambda: None] * 5])
    workers.run([lambda: None] * 5)  # and it goes on


def test_two_work_at_once():
    workers = Workers(1)
    both = threading.Barrier(2, timeout=30)
    workers.run([both.wait, both.wait])
    workers.close()


def test_after_the_end_the_caller_works_alone():
    workers = Workers(1)
    workers.run([lambda: None] * 2)
    workers.close()
    names = []
    workers.run([lambda: names.append(threading.current_thread().name)] * 3)
    assert names == [threading.current_thread().name] * 3
