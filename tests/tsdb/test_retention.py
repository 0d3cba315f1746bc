from __future__ import annotations

import pytest

from tsdb.block_meta import BlockMeta
from tsdb.retention import blocks_to_drop

HOURS = 3_600_000


def meta(ulid: str, start: int, stop: int) -> BlockMeta:
    return BlockMeta(ulid, start * HOURS, stop * HOURS)


BLOCKS = [meta("a", 0, 2), meta("b", 2, 4), meta("c", 4, 6), meta("d", 6, 8)]


@pytest.mark.parametrize(
    ("options", "dropped"),
    [
        pytest.param({}, "", id="no limits keep everything"),
        pytest.param({"retention_ms": 6 * HOURS}, "a", id="a block that ended just then goes"),
        pytest.param({"retention_ms": 6 * HOURS + 1}, "", id="a millisecond less stays"),
        pytest.param({"retention_ms": 1}, "abc", id="the newest always stays"),
        pytest.param(
            {"retention_ms": 6 * HOURS, "newest_max_time_ms": 10 * HOURS},
            "ab",
            id="a head beyond the blocks moves the limit",
        ),
        pytest.param({"size_limit_bytes": 400}, "", id="four blocks of 100 fit in 400"),
        pytest.param({"size_limit_bytes": 399}, "a", id="the oldest goes first"),
        pytest.param({"size_limit_bytes": 400, "other_bytes": 150}, "ab", id="WAL and head count"),
        pytest.param({"size_limit_bytes": 1}, "abcd", id="a limit below all drops all"),
        pytest.param(
            {"size_limit_bytes": 350, "retention_ms": 4 * HOURS},
            "ab",
            id="whichever limit is hit first",
        ),
    ],
)
def test_what_goes(options, dropped):
    sizes = dict.fromkeys("abcd", 100)
    assert sorted(blocks_to_drop(BLOCKS, sizes=sizes, **options).ulids) == list(dropped)


def test_nothing_drops_nothing():
    assert not blocks_to_drop([], retention_ms=1, size_limit_bytes=1, sizes={}).ulids
