import threading

from hypothesis import given
from hypothesis import strategies as st

from tsdb import change_log
from tsdb.change_log import ChangeLog
from tsdb.interface import ALL_TIMES_MS

TIMES = st.integers(-5_000, 60_000)


@given(st.lists(TIMES, max_size=60), st.data())
def test_the_oldest_change_since_any_ticket_is_that_of_a_plain_list(times, data):
    log, tickets = ChangeLog(), []
    for time_ms in times:
        tickets.append(log.ticket())
        log.note(time_ms)
    tickets.append(log.ticket())
    at = data.draw(st.integers(0, len(times)))
    seconds = [time_ms // 1000 * 1000 for time_ms in times[at:]]
    assert log.oldest_since(tickets[at]) == (min(seconds) if seconds else None)


def test_what_was_forgotten_counts_as_changed_everywhere(monkeypatch):
    monkeypatch.setattr(change_log, "_ENTRIES_MAX", 3)
    log = ChangeLog()
    before = log.ticket()
    for second in range(5):
        log.note(second * 1000)
    assert log.oldest_since(before) == ALL_TIMES_MS
    ticket = log.ticket()
    log.note(9_500)
    assert log.oldest_since(ticket) == 9_000


def test_after_a_change_of_everything_nothing_is_certain():
    log = ChangeLog()
    ticket = log.ticket()
    log.note_everything()
    log.note(5_000)
    assert log.oldest_since(ticket) == ALL_TIMES_MS


def test_notes_of_many_threads_are_all_there():
    log = ChangeLog()
    ticket = log.ticket()
    threads = [
        threading.Thread(target=lambda n=n: [log.note(1000 * (n + 10 * k)) for k in range(200)])
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.ticket() == ticket + 800
    assert log.oldest_since(ticket) == 0
