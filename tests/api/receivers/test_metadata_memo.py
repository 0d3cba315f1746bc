"""The memo of metadata against a plain dictionary of the texts themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.receivers.metadata_memo import FORGET_S, MetadataMemo

TEXTS = st.sampled_from([b"", b"up", b"up_total", b"upwards_", b"a" * 17, b"a" * 18, b"\xff\x00"])
ROWS = st.lists(st.tuples(TEXTS, st.integers(0, 7), TEXTS, TEXTS), max_size=8)


def fresh(memo, rows):
    data, places = b"", []
    for name, _, *texts in rows:
        row = []
        for text in (name, *texts):
            row.append((len(data), len(data) + len(text)))
            data += text
        places.append(row)
    return memo.fresh(
        np.frombuffer(data, np.uint8),
        np.array(places, np.int32).reshape(-1, 3, 2),
        np.array([row[1] for row in rows], np.int64),
    )


@given(st.lists(ROWS, max_size=5))
@settings(deadline=None)
def test_new_is_what_a_dictionary_of_texts_does_not_have(bodies):
    memo, known = MetadataMemo(), {}
    for rows in bodies:
        latest = {row[0]: (number, row) for number, row in enumerate(rows)}
        expected = sorted(n for n, row in latest.values() if known.get(row[0]) != row)
        assert fresh(memo, rows) == expected
        known.update((name, row) for name, (_, row) in latest.items())


ONE = [(b"up", 2, b"", b"Whether it is up.")]


def forgotten(memo, clock):
    memo.forget()


def time_passes(memo, clock):
    clock[0] += FORGET_S + 1


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(forgotten, id="after it was not stored"),
        pytest.param(time_passes, id="after a while"),
    ],
)
def test_what_is_known_is_new_again(what):
    clock = [0.0]
    memo = MetadataMemo(lambda: clock[0])
    assert fresh(memo, ONE) == [0]
    assert fresh(memo, ONE) == []
    what(memo, clock)
    assert fresh(memo, ONE) == [0]
