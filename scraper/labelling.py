"""The labels of a series that is new to a target: from what it exposed to what is stored.

From: `tokens.series_labels`.   To: `ingest.py`, once for each new series text.
Source: Prometheus documentation: honor_labels, metric_relabel_configs, label limits. The order is:
exposed labels, target labels and their conflicts, relabelling, name check, limits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from scraper.tokens import ParseError, go_quote, parse_float

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scraper.job import ScrapeJob
    from scraper.relabel import CompiledRules

EXPORTED = "exported_"
_NAME = "__name__"
_LEGACY_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_LEGACY_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_NORMALISED = {"histogram": "le", "summary": "quantile"}


class LabelLimitError(ParseError):
    """A series has too many labels, or one that is too long; the whole scrape fails."""


@dataclass(frozen=True, slots=True)
class Labelling:
    """How one target's series are labelled. `rules` are the job's metric relabelling, compiled."""

    job: ScrapeJob
    target_labels: Mapping[str, str]
    rules: CompiledRules

    def stored_labels(
        self, exposed: Sequence[tuple[str, str]], family_type: str
    ) -> dict[str, str] | None:
        """Return the labels to store, None if relabelling drops the series.

        `exposed` is as `series_labels` gives it; `family_type` is the type declared last. Raises
        ParseError where Prometheus fails the scrape: names, doubles, limits.
        """
        labels = dict(exposed)
        normalised = _NORMALISED.get(family_type)
        if normalised in labels:
            labels[normalised] = normal_float(labels[normalised])
        merged = self._with_target_labels(labels)
        result = self.rules.apply(merged) if self.rules.steps else merged
        if not result:
            return None
        if len(labels) != len(exposed):
            # Of doubles that relabelling takes away nobody hears.
            names = [name for name, _ in exposed]
            for double in (name for name in names if names.count(name) > 1 and name in result):
                raise ParseError(
                    f"label name {go_quote(double.encode())} is not unique: invalid sample"
                )
        self._check(result)
        return result

    def report_labels(self, name: str) -> dict[str, str]:
        """Return the labels of a series the scraper itself writes about the target."""
        return {_NAME: name, **self.target_labels}

    def _with_target_labels(self, exposed: dict[str, str]) -> dict[str, str]:
        labels = {name: value for name, value in exposed.items() if value}
        if self.job.honor_labels:
            # An exposed label that is empty keeps the target's away: that is how a gateway says
            # that a series belongs to no instance.
            return labels | {n: v for n, v in self.target_labels.items() if n not in exposed}
        conflicts = [name for name in self.target_labels if name in labels]
        moved = [(name, labels[name]) for name in sorted(conflicts, key=len)]
        labels.update(self.target_labels)
        for name, value in moved:
            new_name = EXPORTED + name
            while labels.get(new_name):
                new_name = EXPORTED + new_name
            labels[new_name] = value
        return labels

    def _check(self, labels: dict[str, str]) -> None:
        metric = labels.get(_NAME, "")
        if not metric:
            raise ParseError("missing metric name (__name__ label)")
        if self.job.metric_name_validation_scheme == "legacy" and not (
            _LEGACY_METRIC.fullmatch(metric) and all(map(_LEGACY_LABEL.fullmatch, labels))
        ):
            raise ParseError(f"invalid metric name or label names: {labels_text(labels)}")
        if "" in labels:
            raise ParseError(f"invalid metric name or label names: {labels_text(labels)}")
        limits = self.job.limits
        if limits.label_limit and len(labels) > limits.label_limit:
            raise LabelLimitError(
                f"label_limit exceeded (metric: {metric[:50]}, number of labels: {len(labels)}, "
                f"limit: {limits.label_limit})"
            )
        if limits.label_name_length_limit or limits.label_value_length_limit:
            self._check_lengths(metric, labels)

    def _check_lengths(self, metric: str, labels: dict[str, str]) -> None:
        limits = self.job.limits
        for name, value in sorted(labels.items()):
            start = f"(metric: {metric[:50]}, label name: {name[:50]}"
            length, limit = len(name.encode()), limits.label_name_length_limit
            if limit and length > limit:
                raise LabelLimitError(
                    f"label_name_length_limit exceeded {start}, length: {length}, limit: {limit})"
                )
            length, limit = len(value.encode()), limits.label_value_length_limit
            if limit and length > limit:
                quoted = go_quote(value[:50].encode())
                raise LabelLimitError(
                    f"label_value_length_limit exceeded {start}, value: {quoted}, "
                    f"length: {length}, limit: {limit})"
                )


def labels_text(labels: Mapping[str, str]) -> str:
    """Return labels as Prometheus prints a label set.

    >>> labels_text({"b": "x", "__name__": "m"})
    '{__name__="m", b="x"}'
    """
    pairs = (f"{name}={go_quote(value.encode())}" for name, value in sorted(labels.items()))
    return "{" + ", ".join(pairs) + "}"


@lru_cache(maxsize=4096)
def normal_float(text: str) -> str:
    """Return a bucket bound or quantile in OpenMetrics' canonical form; other text as it is.

    >>> normal_float("1"), normal_float("1e6"), normal_float("+INF"), normal_float("x")
    ('1.0', '1e+06', '+Inf', 'x')
    """
    try:
        value = parse_float(text.encode())
    except ParseError:
        return text
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    number = Decimal(repr(value)).normalize()
    sign, digits, exponent = number.as_tuple()
    power = len(digits) + int(exponent) - 1
    if value and not -4 <= power < 6:
        # Go's shortest %g turns to an exponent, of two digits at least, at a million.
        text = "".join(map(str, digits))
        fraction = f".{text[1:]}" if len(text) > 1 else ""
        return f"{'-' * sign}{text[0]}{fraction}e{'-' if power < 0 else '+'}{abs(power):02d}"
    plain = format(number, "f")
    return plain if "." in plain else plain + ".0"
