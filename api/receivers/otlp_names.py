"""Names of OpenTelemetry to names of Prometheus, by one of four strategies.

From: `otlp_translation.py`.
Units become words (`s` is `seconds`, `By/s` is `bytes_per_second`), and what a metric is becomes a
suffix; or not, and letters outside Prometheus' old alphabet become underscores; or not.
Source: OpenTelemetry's compatibility specification for Prometheus; Prometheus' `otlp` settings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

STRATEGIES = {
    "UnderscoreEscapingWithSuffixes": (True, True),
    "NoUTF8EscapingWithSuffixes": (False, True),
    "UnderscoreEscapingWithoutSuffixes": (True, False),
    "NoTranslation": (False, False),
}
"""Strategy -> (names are escaped, suffixes are added)."""

_UNITS = {
    "d": "days", "h": "hours", "min": "minutes", "s": "seconds", "ms": "milliseconds",
    "us": "microseconds", "ns": "nanoseconds",
    "By": "bytes", "KiBy": "kibibytes", "MiBy": "mebibytes", "GiBy": "gibibytes",
    "TiBy": "tibibytes", "KBy": "kilobytes", "MBy": "megabytes", "GBy": "gigabytes",
    "TBy": "terabytes",
    "m": "meters", "V": "volts", "A": "amperes", "J": "joules", "W": "watts", "g": "grams",
    "Cel": "celsius", "Hz": "hertz", "1": "", "%": "percent",
}  # fmt: skip
_PER = {
    "s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year",
}  # fmt: skip

_NOT_IN_TOKENS = re.compile(r"[^a-zA-Z0-9:]+")
_NOT_IN_METRICS = re.compile(r"[^a-zA-Z0-9:_]+")
_NOT_IN_LABELS = re.compile(r"[^a-zA-Z0-9_]")


class BadNameError(ValueError):
    """A name of which nothing is left; `str()` says which."""


@dataclass(frozen=True, slots=True)
class Naming:
    """How names are made. `escape`: only letters, digits, `_` and `:` may stay."""

    escape: bool = True
    suffixes: bool = True
    underscore_labels_get_key: bool = True
    keep_underscores: bool = True

    def metric(self, name: str, unit: str, *, counter: bool, gauge: bool) -> str:
        """Return the name of a metric family. Raises BadNameError."""
        return _metric(self, name, unit, counter, gauge)

    def label(self, name: str) -> str:
        """Return the name of a label. Raises BadNameError."""
        return _label(self, name)


@lru_cache(maxsize=8192)
def _metric(naming: Naming, name: str, unit: str, counter: bool, gauge: bool) -> str:
    if not naming.escape:
        made = _with_suffixes(name, unit, counter, gauge) if naming.suffixes else name
    elif naming.suffixes:
        made = _escaped_with_suffixes(name, unit, counter, gauge)
    else:
        made = "_".join(filter(None, _NOT_IN_METRICS.split(name)))
        made = f"_{made}" if made[:1].isdecimal() else made
    if not made:
        raise BadNameError(f'normalization for metric "{name}" resulted in empty name')
    if naming.escape and made != name and not made.strip("_"):
        raise BadNameError(f'normalization for metric "{name}" resulted in invalid name "{made}"')
    return made


def _units(unit: str) -> tuple[str, str]:
    """Return a unit in words: the main one, and what it is by, as `per_...`."""
    main, _, per = unit.partition("/")
    main, per = main.strip(), per.strip()
    if "{" in main or "}" in main:
        main = ""
    if "{" in per or "}" in per:
        per = ""
    return _UNITS.get(main, main), f"per_{_PER.get(per, per)}" if per else ""


def _cleaned(unit: str) -> str:
    return _NOT_IN_TOKENS.sub("_", unit).removeprefix("_")


def _escaped_with_suffixes(name: str, unit: str, counter: bool, gauge: bool) -> str:
    tokens = [token for token in _NOT_IN_TOKENS.split(name) if token]
    main, per = map(_cleaned, _units(unit))
    per = "" if per == "per_" else per.removesuffix("_")
    main = "" if main in tokens else main
    per = "" if per in tokens else per
    main = main.removesuffix("_") if per else main
    tokens += [token for token in (main, per) if token]
    if counter:
        tokens = [*(token for token in tokens if token != "total"), "total"]
    if gauge and unit == "1":
        tokens = [*(token for token in tokens if token != "ratio"), "ratio"]
    made = "_".join(tokens)
    return f"_{made}" if made[:1].isdecimal() else made


def _with_suffixes(name: str, unit: str, counter: bool, gauge: bool) -> str:
    """Return a name in its own letters, behind it those of unit, `_ratio` and `_total`."""
    main, per = _units(unit)
    behind = []
    if gauge and unit == "1":
        name, behind = _trimmed(name, "ratio"), ["ratio"]
    if counter:
        name, behind = _trimmed(name, "total"), ["total", *behind]
    if per:
        name, behind = _trimmed(name, per), [per, *behind]
    if main and not name.endswith(main):
        behind = [main, *behind]
    return "_".join([name, *behind])


def _trimmed(name: str, suffix: str) -> str:
    """Return a name without a suffix and the character before it."""
    if name.endswith(suffix) and len(name) > len(suffix) + 1:
        return name[: -len(suffix) - 1]
    return name


@lru_cache(maxsize=8192)
def _label(naming: Naming, name: str) -> str:
    made = name
    if naming.escape:
        made = _NOT_IN_LABELS.sub("_", name)
        if not naming.keep_underscores:
            made = re.sub("__+", "_", made)
        if made[:1].isdecimal():
            made = f"key_{made}"
        elif naming.underscore_labels_get_key and made[:1] == "_" and made[:2] != "__":
            made = f"key{made}"
        if made and made != name and not made.strip("_"):
            raise BadNameError(
                f'normalization for label name "{name}" resulted in invalid name "{made}"'
            )
    if not made:
        raise BadNameError(f'normalization for label name "{name}" resulted in empty name')
    return made
