"""The text exposition format 0.0.4, written: families with help, type and samples.

From: `telemetry.py`.   To: `/metrics`. Source: Prometheus documentation, exposition formats.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Labels = dict[str, str]


class MetricsText:
    """Collects families; a name comes once, all its samples with it."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._names: set[str] = set()

    def counter(self, name: str, help_text: str, value: float) -> None:
        """Add a counter without labels."""
        self.family(name, "counter", help_text, [({}, value)])

    def gauge(self, name: str, help_text: str, value: float) -> None:
        """Add a gauge without labels."""
        self.family(name, "gauge", help_text, [({}, value)])

    def family(
        self, name: str, kind: str, help_text: str, samples: Iterable[tuple[Labels, float]]
    ) -> None:
        """Add a counter or gauge with its samples; without samples nothing is written."""
        rows = list(samples)
        if rows:
            self._head(name, kind, help_text)
            self._lines += [f"{name}{_labels(labels)} {_number(value)}" for labels, value in rows]

    def histogram(
        self,
        name: str,
        help_text: str,
        rows: Iterable[tuple[Labels, Sequence[float], Sequence[int], float]],
    ) -> None:
        """Add a classic histogram; rows are labels, bounds, counts per bucket (last: above), sum.

        Counts are not cumulative as given, and are as written.
        """
        begun = False
        for labels, bounds, counts, total in rows:
            if not begun:
                self._head(name, "histogram", help_text)
                begun = True
            seen = 0
            for bound, count in zip((*bounds, math.inf), counts, strict=True):
                seen += count
                le = labels | {"le": _number(bound)}
                self._lines.append(f"{name}_bucket{_labels(le)} {seen}")
            self._lines.append(f"{name}_sum{_labels(labels)} {_number(total)}")
            self._lines.append(f"{name}_count{_labels(labels)} {seen}")

    def summary(
        self,
        name: str,
        help_text: str,
        rows: Iterable[tuple[Labels, Mapping[float, float], float, int]],
    ) -> None:
        """Add a summary; rows are labels, value by quantile, sum, count."""
        begun = False
        for labels, quantiles, total, count in rows:
            if not begun:
                self._head(name, "summary", help_text)
                begun = True
            for quantile, value in quantiles.items():
                with_quantile = labels | {"quantile": _number(quantile)}
                self._lines.append(f"{name}{_labels(with_quantile)} {_number(value)}")
            self._lines.append(f"{name}_sum{_labels(labels)} {_number(total)}")
            self._lines.append(f"{name}_count{_labels(labels)} {count}")

    def text(self) -> bytes:
        """Return everything, ready to be sent."""
        return ("\n".join(self._lines) + "\n").encode()

    def _head(self, name: str, kind: str, help_text: str) -> None:
        assert name not in self._names, f"two families of the name {name}"
        self._names.add(name)
        escaped = help_text.replace("\\", "\\\\").replace("\n", "\\n")
        self._lines += [f"# HELP {name} {escaped}", f"# TYPE {name} {kind}"]


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return repr(float(value))
