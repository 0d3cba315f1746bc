"""What was quick runs on the event loop, as long as it is known to be."""

from __future__ import annotations

import asyncio
import threading

import pytest

from api import quick_work
from api.gate import Gate
from api.quick_work import QuickWork
from tests.api.conftest import NOW_S
from tests.api.scripted_engine import QUERY, ScriptedEngine, scalar


@pytest.fixture
def clock(monkeypatch):
    """Time as the test has it."""

    class Clock:
        now, worked = 1000.0, 10.0

        def monotonic(self):
            return self.now

        def thread_time(self):
            return self.worked

    made = Clock()
    monkeypatch.setattr(quick_work, "time", made)
    return made


def spend(clock, seconds, waiting=0.0):
    clock.now += seconds + waiting
    clock.worked += seconds
    return "done"


def test_what_was_quick_is_known_for_a_while(clock):
    quick = QuickWork()
    assert not quick.knows("k")
    assert quick.timed("k", lambda: spend(clock, 0.0001))() == "done"
    assert quick.knows("k")
    assert not quick.knows("other")
    clock.now += quick_work.KNOWN_FOR_S / 2
    quick.timed("k", lambda: spend(clock, 0.0001))()
    clock.now += quick_work.KNOWN_FOR_S / 2
    assert not quick.knows("k"), "using it does not lengthen it"
    quick.timed("k", lambda: spend(clock, 0.0001))()
    assert quick.knows("k")


def test_what_was_slow_is_not_known_any_more(clock):
    quick = QuickWork()
    quick.timed("k", lambda: spend(clock, 0.0001))()
    quick.timed("k", lambda: spend(clock, 0.1))()
    assert not quick.knows("k")


@pytest.mark.parametrize(
    ("waiting", "known"),
    [
        pytest.param(0.004, True, id="it waited for its turn, as all work does"),
        pytest.param(0.1, False, id="it waited for something"),
    ],
)
def test_work_that_did_little_in_a_long_time(clock, waiting, known):
    quick = QuickWork()
    quick.timed("k", lambda: spend(clock, 0.0001, waiting))()
    assert quick.knows("k") == known


def test_what_failed_is_not_known_any_more(clock):
    quick = QuickWork()
    quick.timed("k", lambda: spend(clock, 0.0001))()
    with pytest.raises(ZeroDivisionError):
        quick.timed("k", lambda: 1 // 0)()
    assert not quick.knows("k")


def test_what_has_no_key_is_not_remembered(clock):
    quick = QuickWork()
    quick.timed(None, lambda: spend(clock, 0.0001))()
    assert not quick.knows(None)


def test_the_memory_is_bounded(clock, monkeypatch):
    monkeypatch.setattr(quick_work, "_KNOWN_MAX", 3)
    quick = QuickWork()
    for key in range(20):
        quick.timed(key, lambda: spend(clock, 0.0001))()
        assert quick.knows(key)
        assert sum(map(quick.knows, range(20))) <= 3


@pytest.fixture
def always_quick(monkeypatch):
    """No test waits for a machine that is fast enough."""
    monkeypatch.setattr(quick_work, "QUICK_S", 30.0)
    monkeypatch.setattr(quick_work, "WAIT_S", 30.0)


def threads_of(api, asks, path=QUERY):
    """Have queries asked, one after the other; return which threads evaluated them."""
    seen = []

    def act(**_call):
        seen.append(threading.current_thread())
        return scalar()

    api.engine.close()
    api.engine = ScriptedEngine(act)

    async def scenario(session, address):
        for ask in asks:
            async with session.get(f"{address}{path}?{ask}") as response:
                assert response.status == 200
        return threading.current_thread()

    loop_thread = api.run(scenario)
    return [thread is loop_thread for thread in seen]


def test_a_quick_query_runs_on_the_loop_the_second_time(api, always_quick):
    assert threads_of(api, ["query=1", "query=1", "query=2"]) == [False, True, False]


def test_a_query_of_the_past_may_have_to_wait_for_the_disk(api, always_quick):
    assert threads_of(api, ["query=1&time=5", "query=1&time=5"]) == [False, False]


def panel(start_s, end_s, step_s=10):
    return f"query=1&start={start_s}&end={end_s}&step={step_s}"


@pytest.mark.parametrize(
    ("asks", "on_loop"),
    [
        pytest.param([(-60, 0), (-45, 15)], [False, True], id="one that moves is as quick again"),
        pytest.param([(-60, 0), (-90, 0)], [False, False], id="a longer one is another"),
        pytest.param([(-60, 0), (-60, 0, 1)], [False, False], id="one of more steps is another"),
        pytest.param([(-9000, -8000)] * 2, [False, False], id="what is old may be on the disk"),
        pytest.param([(-9000, 0)] * 2, [False, False], id="and so may be where it begins"),
        pytest.param([(0, 90000)] * 2, [False, False], id="a day to come is long as well"),
    ],
)
def test_small_panels_of_the_present_run_on_the_loop(api, always_quick, asks, on_loop):
    texts = [panel(NOW_S + start, NOW_S + end, *step) for start, end, *step in asks]
    assert threads_of(api, texts, f"{QUERY}_range") == on_loop


def test_a_slow_query_runs_in_a_thread(api, monkeypatch):
    monkeypatch.setattr(quick_work, "QUICK_S", -1.0)
    assert threads_of(api, ["query=1", "query=1"]) == [False, False]


def test_while_a_part_of_storage_is_missing_all_go_to_threads(api, always_quick):
    api.view.notes = ("not all is there yet",)
    assert threads_of(api, ["query=1", "query=1"]) == [False, False]


def test_who_uses_the_threads_keeps_others_off_the_loop(api, always_quick):
    release = threading.Event()

    async def scenario(_session, _address):
        gate = Gate(20)
        try:
            assert await gate.read(threading.current_thread, "k") is not threading.main_thread()
            here = threading.current_thread()
            assert await gate.read(threading.current_thread, "k") is here
            busy = asyncio.create_task(gate.read(lambda: release.wait(30)))
            await asyncio.sleep(0)
            assert await gate.read(threading.current_thread, "k") is not here
            release.set()
            assert await busy
        finally:
            await gate.close()

    api.run(scenario)


def test_label_questions_are_answered_the_same_on_the_loop(api, always_quick):
    answers = [api.ask("GET", "/api/v1/label/job/values").body for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
