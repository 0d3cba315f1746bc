"""An exemplar as OpenMetrics writes it, read.

From: the spans that `exposition.py` found. To: `exemplars.py`, which keeps what is new.
"""

from __future__ import annotations

from dataclasses import dataclass

from scraper.tokens import ParseError, Reader, milliseconds, parse_float, read_labels


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One exemplar; `time_ms` None where the target gave no time. Units: milliseconds."""

    labels: dict[str, str]
    value: float
    time_ms: int | None


def read_exemplar(text: bytes) -> Exemplar:
    """Read one as OpenMetrics has it, from its brace on. Raises ParseError.

    Escapes in its labels stay as they are written: so Prometheus 3.5 keeps them.

    >>> read_exemplar(b'{a="b"} 2 1.5')
    Exemplar(labels={'a': 'b'}, value=2.0, time_ms=1500)
    """
    reader = Reader(text, 1, openmetrics=True)
    _, pairs = read_labels(reader, name=None, exemplar=True)
    numbers = [parse_float(number) for number in text[reader.at :].split()]
    try:
        labels = {name.decode(): value.decode() for name, value in pairs}
    except UnicodeDecodeError:
        raise ParseError("invalid UTF-8 in the labels of an exemplar") from None
    time_ms = milliseconds(numbers[1]) if len(numbers) > 1 else None
    return Exemplar(labels, numbers[0], time_ms)
