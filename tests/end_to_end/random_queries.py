"""Random queries over the series of `test_random_queries.py`, and broken ones made of good ones.

A typed grammar: what it writes parses and mostly has an answer. Seeds make the same queries.
"""

import random

FAMILIES = ("g", "g", "tie", "one", "c_total", "nh", "nh", "cb", "mix")
LABELS = ("a", "b", "extra", "__name__", "nolabel")
VALUES = ("x", "y", "z", "1", "", "ex")
DURATIONS = ("1m", "2m", "5m", "45s", "90", "10m", "3s", "0x3c", "1m30s")
NUMBERS = (
    "0", "1", "2", "-1", "0.5", "3", "NaN", "Inf", "-Inf", "1e3", "5m", "0x10", "-0", "007", ".5",
    "1_0",
)  # fmt: skip
ARITHMETIC = ("+", "-", "*", "/", "%", "^", "atan2")
COMPARISONS = ("==", "!=", "<", ">", "<=", ">=")
OF_RANGES = (
    "rate", "increase", "delta", "irate", "idelta", "deriv", "resets", "changes", "avg_over_time",
    "min_over_time", "max_over_time", "sum_over_time", "count_over_time", "last_over_time",
    "present_over_time", "stddev_over_time", "mad_over_time", "ts_of_max_over_time",
    "absent_over_time",
)  # fmt: skip
OF_VECTORS = (
    "abs", "ceil", "floor", "sgn", "sqrt", "exp", "ln", "round", "timestamp", "absent", "sort",
    "histogram_count", "histogram_sum", "histogram_avg", "histogram_stddev", "day_of_week", "hour",
)  # fmt: skip
AGGREGATIONS = ("sum", "avg", "min", "max", "count", "group", "stddev", "stdvar")
DEBRIS = (
    "(", ")", "{", "}", "[", "]", ",", '"', "'", "by", "on", "offset", "@", "bool", "=~", "==", "!",
    "+", "and", "5m", "1e", "0x", "nan", "[5m]", "[5m:]", "[:]", "sum", "rate", ".", "$", "\\", "é",
    "1..", "5mm", '"\\q"', "foo", "1h1m", "~", "|", ";", "group_left",
)  # fmt: skip


class RandomQueries:
    """Writes queries, each a call; `begin_s` and `length_s` say where the data is."""

    def __init__(self, seed, begin_s, length_s):
        self._random = random.Random(seed)
        self._begin_s, self._length_s = begin_s, length_s

    def time_s(self):
        """Return a time at which there is something, on the grid of the samples or beside it."""
        exact = self._random.randrange(60, self._length_s)
        return self._begin_s + (exact - exact % 15 if self._chance(0.5) else exact)

    def query(self):
        """Return a text that is a query."""
        return self.vector(self._one_of(1, 2, 2, 3))

    def broken(self):
        """Return a query with pieces cut out, doubled or put in; a few are queries still."""
        text = self.query()
        for _ in range(self._one_of(1, 1, 2)):
            start = self._random.randrange(len(text) + 1)
            stop = min(len(text), start + self._random.randrange(1, 6))
            piece = self._one_of("", text[start:stop] * 2, f" {self._one_of(*DEBRIS)} ")
            text = text[:start] + piece + text[self._one_of(start, stop) :]
        return text

    def vector(self, depth):
        """Return an expression of an instant vector, so many levels deep at most."""
        if depth <= 0:
            return self.selector()
        kinds = (self.selector, self.ranged, self.aggregation, self.binary, self.called)
        kind = self._random.choices(kinds, (15, 25, 20, 25, 15))[0]
        return kind() if kind == self.selector else kind(depth)

    def selector(self, *, modified=True):
        text = self._one_of(*FAMILIES)
        if self._chance(0.3):
            text += f"{{{self._matcher()}}}"
        return text + (self._modifiers() if modified else "")

    def scalar(self):
        if self._chance(0.75):
            return self._one_of(*NUMBERS)
        return self._one_of('scalar(one{a="x"})', "time()", f"({self._one_of(*NUMBERS)} + 1)")

    def ranged(self, depth):
        if self._chance(0.25):
            range_vector = f"({self.vector(depth - 1)})[{self._duration()}:{self._step()}]"
        else:
            range_vector = f"{self.selector(modified=False)}[{self._duration()}]"
        range_vector += self._modifiers()
        if self._chance(0.1):
            return f"quantile_over_time({self.scalar()}, {range_vector})"
        if self._chance(0.1):
            return f"predict_linear({range_vector}, {self.scalar()})"
        return f"{self._one_of(*OF_RANGES)}({range_vector})"

    def aggregation(self, depth):
        inner, grouping = self.vector(depth - 1), ""
        if self._chance(0.6):
            labels = self._random.sample(LABELS, self._one_of(0, 1, 2))
            grouping = f" {self._one_of('by', 'without')} ({', '.join(labels)}) "
        op = self._one_of(*AGGREGATIONS, "quantile", "count_values", "topk", "limit_ratio")
        if op == "count_values":
            inner = f'"{self._one_of("v", "a", "__name__")}", {inner}'
        elif op == "topk":
            inner = f"{self._one_of('0', '-1', '100', '0.5')}, {inner}"
        elif op in ("quantile", "limit_ratio"):
            inner = f"{self._one_of('0.5', '0', '1', '-2', '2', '(0.9)')}, {inner}"
        return f"{op}{grouping}({inner})"

    def binary(self, depth):
        if self._chance(0.3):
            sides = [f"({self.vector(depth - 1)})", self.scalar()]
            self._random.shuffle(sides)
            op = self._operator()
        else:
            sides = [f"({self.vector(depth - 1)})", f"({self.vector(depth - 1)})"]
            op = self._one_of("and", "or", "unless") if self._chance(0.25) else self._operator()
            if self._chance(0.5):
                labels = self._random.sample(LABELS, self._one_of(0, 1, 1, 2))
                op += f" {self._one_of('on', 'ignoring')} ({', '.join(labels)})"
                if op[0] not in "aou" and self._chance(0.4):
                    op += f" group_left ({self._one_of('', 'extra', 'b')})"
        return f"{sides[0]} {op} {sides[1]}"

    def called(self, depth):
        inner = self.vector(depth - 1)
        kind = self._random.random()
        if kind < 0.15:
            return f"histogram_quantile({self.scalar()}, {inner})"
        if kind < 0.3:
            texts = (
                self._one_of("new", "a", "__name__"),
                self._one_of("$1", "", "${1}_y"),
                self._one_of("a", "b", "__name__"),
                self._one_of("(.*)", "x", "(x|y)", "("),
            )
            return f"label_replace({inner}, {', '.join(map(repr, texts))})"
        if kind < 0.4:
            return f"clamp({inner}, {self.scalar()}, {self.scalar()})"
        if kind < 0.5:
            return f"{self._one_of('-', '+')}({inner})"
        return f"{self._one_of(*OF_VECTORS)}({inner})"

    def _operator(self):
        if self._chance(0.6):
            return self._one_of(*ARITHMETIC)
        return self._one_of(*COMPARISONS) + self._one_of("", "", " bool")

    def _matcher(self):
        op, value = self._one_of("=", "!=", "=~", "!~"), self._one_of(*VALUES)
        if op in ("=~", "!~"):
            value = self._one_of(f"{value}|y", ".*", ".+", "[a-x]*")
        return f'{self._one_of("a", "b", "extra", "nolabel")}{op}"{value}"'

    def _modifiers(self):
        text = f" offset {self._one_of('', '-')}{self._duration()}" if self._chance(0.1) else ""
        if self._chance(0.1):
            text += f" @ {self._one_of('start()', 'end()', str(self.time_s()))}"
        return text

    def _duration(self):
        return self._one_of(*DURATIONS)

    def _step(self):
        return self._one_of("", "1m", "15s", "7s")

    def _one_of(self, *choices):
        return self._random.choice(choices)

    def _chance(self, share):
        return self._random.random() < share
