"""The texts of one block: a sorted table in its memory-mapped index.

From: the arrays `symbol.offset` and `symbol.bytes` of `block.py`.
To:   whoever reads labels of the block's batches; implements `interface.SymbolSource`.

Ids are places in the order of the texts' bytes, so comparing ids compares texts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from tsdb.interface import Bytes, Ids, Ints


class BlockSymbols:
    """An immutable, sorted string table; nothing is decoded before somebody asks for it."""

    __slots__ = ("_bytes", "_offset")

    def __init__(self, offset: npt.NDArray[np.unsignedinteger], text: Bytes) -> None:
        """Wrap the arrays: any unsigned[N + 1] and uint8[bytes]."""
        self._offset = offset
        self._bytes = text

    def __len__(self) -> int:
        """N."""
        return self._offset.size - 1

    def text(self, symbol: int) -> str:
        """Return the text of one id. Raises IndexError for an id never given out."""
        if not 0 <= symbol < len(self):
            raise IndexError(f"symbol {symbol} of {len(self)}")
        return self._raw(symbol).decode()

    def texts(self, symbols: Ids) -> list[str]:
        """Return the texts of many ids, in their order."""
        data = memoryview(self._bytes.data)
        starts, stops = self._offset[symbols].tolist(), self._offset[1:][symbols].tolist()
        return [str(data[a:b], "utf-8") for a, b in zip(starts, stops, strict=True)]

    def find(self, text: str) -> int | None:
        """Return the id of a text, or None if the block does not have it."""
        wanted = text.encode(errors="surrogatepass")  # what is no UTF-8 is in no block
        at = self.first_from(wanted)
        return at if at < len(self) and self._raw(at) == wanted else None

    def first_from(self, wanted: bytes) -> int:
        """Return the first id whose UTF-8 text is not below `wanted`; N if all are."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self._raw(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        return low

    def ranges(self, symbols: Ids) -> tuple[Bytes, Ints, Ints]:
        """Return one byte buffer and where the text of each id starts and stops in it."""
        starts = self._offset[symbols].astype(np.int64)
        return self._bytes, starts, self._offset[1:][symbols].astype(np.int64)

    def _raw(self, symbol: int) -> bytes:
        return self._bytes[int(self._offset[symbol]) : int(self._offset[symbol + 1])].tobytes()
