"""Many texts as bytes: where they lie, which order they have, one buffer of them.

From: symbol tables. To: `series_order.py`, `block_writer.py`: making strings of the label values of
a million series, and sorting these, would hold up every other thread for seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tsdb.block_symbols import BlockSymbols
from tsdb.symbols import SymbolTable
from tsdb.text_order_kernels import join_texts, order_texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tsdb.interface import Bytes, Ids, Ints, SymbolSource


def ranges_of(symbols: SymbolSource, ids: Ids) -> tuple[Bytes, Ints, Ints]:
    """Return one byte buffer, and where the text of each id starts and stops in it: int64[ids]."""
    if isinstance(symbols, (SymbolTable, BlockSymbols)):
        return symbols.ranges(ids)
    return ranges_of_texts(symbols.texts(ids))


def ranges_of_texts(texts: Sequence[str]) -> tuple[Bytes, Ints, Ints]:
    """Return the texts in one byte buffer, and where each starts and stops in it."""
    encoded = [text.encode() for text in texts]
    stops = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)))
    starts = np.concatenate([np.zeros(1, np.int64), stops])[:-1]
    return np.frombuffer(b"".join(encoded), np.uint8), starts, stops


def order_of(
    text: Bytes, starts: Ints, stops: Ints
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the places of texts in rising order, and which of these are as the one before."""
    order, scratch = np.empty((2, starts.size), np.int64)
    repeats = np.empty(starts.size, np.uint8)
    order_texts(text, starts, stops, order, scratch, repeats)
    return order, repeats.view(np.bool_)


def joined(text: Bytes, starts: Ints, stops: Ints) -> Bytes:
    """Return the texts one behind the other."""
    out = np.empty(int((stops - starts).sum()), np.uint8)
    join_texts(text, starts, stops, out)
    return out
