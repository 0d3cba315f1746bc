"""Label columns -> numbers into one list of texts, so that each text is encoded once.

To: `json_writer.py`, `remote_read.py`, whose kernels copy the encoded texts.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from api.float_kernels import SLACK_BYTES
from api.json_kernels import number_symbols

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

SLACK = bytes(SLACK_BYTES)
"""What `put_bytes` may read behind its source."""


def numbered(ids: npt.NDArray[np.uint32]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint32]]:
    """Return int32[L, S] numbers, -1 for an absent label, and the symbol of each number.

    Shapes: `ids` uint32[L, S] as in `LabelColumns`.
    """
    ids = np.ascontiguousarray(ids)
    texts_of = np.empty(ids.shape, dtype=np.int32)
    room = min(1 << 10, 4 << ids.size.bit_length())
    while True:
        distinct = np.empty(room, dtype=np.uint32)
        keys = np.zeros(room * 2, dtype=np.uint32)
        numbers = np.empty(room * 2, dtype=np.int32)
        count = number_symbols(ids, keys, numbers, texts_of, distinct)
        if count >= 0:
            return texts_of, distinct[:count]
        room *= 8


def joined(parts: Sequence[bytes]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return the parts in one array with SLACK behind it, and int64[len + 1] where each starts."""
    at = np.array([0, *accumulate(map(len, parts))], dtype=np.int64)
    return np.frombuffer(b"".join([*parts, SLACK]), dtype=np.uint8), at
