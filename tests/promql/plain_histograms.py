"""Native histograms one at a time, in plain Python: the definitions that kernels must equal."""

import math
from dataclasses import replace

from hypothesis import strategies as st

from promql.histograms.bounds_kernels import exponential_bound
from promql.histograms.columns import HistogramRow
from tsdb.interface import CUSTOM_BUCKETS_SCHEMA as CUSTOM
from tsdb.interface import ResetHint

UNKNOWN, RESET, NOT_RESET, GAUGE = ResetHint


bound = exponential_bound
"""The upper bound of an exponential bucket; histograms/test_bounds_kernels.py looks after it."""


def bounds_of(row, index):
    if row.schema != CUSTOM:
        return bound(index - 1, row.schema), bound(index, row.schema)
    edges = [-math.inf, *row.bounds, math.inf]
    return edges[index], edges[index + 1]


def coarser(side, shift):
    merged = {}
    for index, count in side:
        target = math.ceil(index / 2**shift)
        merged[target] = merged.get(target, 0.0) + count
    return merged


def widened(row, threshold):
    """The histogram with a zero bucket as wide as that, wider where a populated bucket is cut."""
    populated = [pair for pair in (*row.positive, *row.negative) if pair[1] != 0]
    while True:
        cut = [
            bound(i, row.schema)
            for i, _ in populated
            if bound(i - 1, row.schema) < threshold < bound(i, row.schema)
        ]
        if not cut:
            break
        threshold = max(cut)
    inside = sum(c for i, c in populated if bound(i, row.schema) <= threshold)
    outside = [
        tuple((i, c) for i, c in side if c != 0 and bound(i - 1, row.schema) >= threshold)
        for side in (row.positive, row.negative)
    ]
    return replace(
        row,
        zero_threshold=threshold,
        zero_count=row.zero_count + inside,
        positive=outside[0],
        negative=outside[1],
    )


def listed(side):
    return tuple(sorted((i, c) for i, c in side.items() if c != 0))


def hint_of(a, b):
    if a in (b, GAUGE):
        return a
    return GAUGE if b == GAUGE else UNKNOWN


def added(a, b, sign=1.0):
    """a + sign * b, and whether bounds differed; None where they cannot be added."""
    if (a.schema == CUSTOM) != (b.schema == CUSTOM):
        return None, False
    if a.schema == CUSTOM:
        bounds = tuple(x for x in a.bounds if x in b.bounds)
        total = {}
        for row, factor in ((a, 1.0), (b, sign)):
            for index, count in row.positive:
                upper = bounds_of(row, index)[1]
                place = sum(x < upper for x in bounds)
                total[place] = total.get(place, 0.0) + factor * count
        sides, schema, zero, threshold = (listed(total), ()), CUSTOM, 0.0, 0.0
    else:
        bounds = ()
        wide_a, wide_b = a, b
        while wide_a.zero_threshold != wide_b.zero_threshold:
            if wide_a.zero_threshold > wide_b.zero_threshold:
                wide_b = widened(b, wide_a.zero_threshold)
            else:
                wide_a = widened(a, wide_b.zero_threshold)
        threshold = wide_a.zero_threshold
        schema = min(a.schema, b.schema)
        sides = []
        for name in ("positive", "negative"):
            total = coarser(getattr(wide_a, name), a.schema - schema)
            others = [p for p in getattr(wide_b, name) if bound(p[0], b.schema) > threshold]
            for index, count in coarser(others, b.schema - schema).items():
                total[index] = total.get(index, 0.0) + sign * count
            sides.append(listed(total))
        zero = wide_a.zero_count + sign * wide_b.zero_count
    return (
        HistogramRow(
            schema=schema,
            count=a.count + sign * b.count,
            sum=a.sum + sign * b.sum,
            zero_threshold=threshold,
            zero_count=zero,
            positive=sides[0],
            negative=sides[1],
            bounds=bounds,
            hint=hint_of(a.hint, b.hint),
        ),
        a.bounds != b.bounds,
    )


def scaled(row, factor):
    return replace(
        row,
        count=row.count * factor,
        sum=row.sum * factor,
        zero_count=row.zero_count * factor,
        positive=tuple((i, c * factor) for i, c in row.positive if c * factor != 0),
        negative=tuple((i, c * factor) for i, c in row.negative if c * factor != 0),
        is_float=True,
    )


def was_reset(previous, current):
    if current.hint in (RESET, NOT_RESET):
        return current.hint == RESET
    if current.count < previous.count:
        return True
    if current.schema == CUSTOM:
        if previous.schema != CUSTOM:
            return True
        common = [*(x for x in current.bounds if x in previous.bounds), math.inf]
        lower = -math.inf
        for upper in common:
            now, then = (
                sum(c for i, c in row.positive if lower < bounds_of(row, i)[1] <= upper)
                for row in (current, previous)
            )
            if now < then:
                return True
            lower = upper
        return False
    if current.schema > previous.schema or current.zero_threshold < previous.zero_threshold:
        return True
    if current.zero_threshold > previous.zero_threshold:
        wide = widened(previous, current.zero_threshold)
        if wide.zero_threshold != current.zero_threshold:
            return True
    else:
        wide = previous
    if current.zero_count < wide.zero_count:
        return True
    for name in ("positive", "negative"):
        outside = [
            p for p in getattr(wide, name) if bound(p[0], previous.schema) > current.zero_threshold
        ]
        now = dict(getattr(current, name))
        for index, count in coarser(outside, previous.schema - current.schema).items():
            if now.get(index, 0.0) < count:
                return True
    return False


def buckets(row):
    """(lower, upper, count, is the zero bucket), rising."""
    out = [
        (-bound(i, row.schema), min(-bound(i - 1, row.schema), -row.zero_threshold), c, False)
        for i, c in reversed(row.negative)
    ]
    if row.zero_count > 0:
        out.append((-row.zero_threshold, row.zero_threshold, row.zero_count, True))
    for i, c in row.positive:
        lower, upper = bounds_of(row, i)
        if row.schema != CUSTOM:
            lower = max(lower, row.zero_threshold)
        out.append((lower, upper, c, False))
    return out


def quantile(row, q):
    if q < 0:
        return -math.inf
    if q > 1:
        return math.inf
    if row.count == 0 or math.isnan(q):
        return math.nan
    upwards = math.isnan(row.sum) or q < 0.5
    walk = buckets(row) if upwards else list(reversed(buckets(row)))
    rank = q * row.count if upwards else (1 - q) * row.count
    seen, lower, upper, value = 0.0, 0.0, 0.0, 0.0
    for bucket in walk:
        lower, upper, value, _ = bucket
        if value == 0:
            continue
        seen += value
        if seen >= rank:
            break
    custom = row.schema == CUSTOM
    if custom and lower == -math.inf:
        if upper <= 0:
            return upper
        lower = 0.0
    elif custom and upper == math.inf:
        return lower
    elif not custom and lower < 0 < upper:
        if row.positive and not row.negative:
            lower = 0.0
        elif row.negative and not row.positive:
            upper = 0.0
    seen = min(seen, row.count)
    if seen < rank:
        return math.nan if math.isnan(row.sum) else upper
    rank = rank - (seen - value) if upwards else seen - rank
    if value == 0:
        return math.nan
    share = rank / value
    if custom or lower <= 0 <= upper:
        return lower + (upper - lower) * share
    if lower > 0:
        return lower * (upper / lower) ** share
    return -(-upper * (lower / upper) ** (1 - share))


def below(row, value):
    """How many observations are at most as high as a value inside the buckets' range."""
    total = 0.0
    for lower, upper, count, is_zero in buckets(row):
        linear = row.schema == CUSTOM or (lower <= 0 <= upper)
        if linear and lower <= 0 <= upper:
            if row.positive and not row.negative:
                lower = 0.0
            elif row.negative and not row.positive:
                upper = 0.0
        assert not is_zero or linear
        if lower >= value:
            continue
        if upper <= value:
            total += count
        else:
            if linear and lower == -math.inf:
                return count
            if linear:
                share = (value - lower) / (upper - lower)
            else:
                share = math.log(value / lower) / math.log(upper / lower)
            total += count * share
    return total


def fraction(row, low, high):
    if row.count == 0 or math.isnan(low) or math.isnan(high):
        return math.nan
    if low >= high:
        return 0.0
    counted = sum(b[2] for b in buckets(row)) if math.isnan(row.sum) else row.count
    populated = [b for b in buckets(row) if b[2] != 0]
    ranks = [
        min(below(row, value), counted)
        if any(lower >= value or upper > value for lower, upper, _, _ in populated)
        else counted
        for value in (low, high)
    ]
    return (ranks[1] - ranks[0]) / row.count


def variance(row):
    if row.count == 0:
        return math.nan
    mean = row.sum / row.count
    terms = []
    for lower, upper, count, _ in buckets(row):
        if count == 0:
            continue
        if row.schema == CUSTOM:
            value = (lower + upper) / 2
        elif lower <= 0 <= upper:
            value = 0.0
        else:
            value = math.copysign(math.sqrt(lower * upper), upper)
        terms.append(count * (value - mean) ** 2)
    return math.fsum(terms) / row.count


COUNTS = st.integers(0, 5).map(float)


@st.composite
def exponential(draw, *, schemas=(-2, -1, 0, 1, 2, 8), hints=tuple(ResetHint)):
    """A well-formed histogram of exponential buckets, few and near one."""
    schema = draw(st.sampled_from(schemas))
    threshold = draw(st.sampled_from([0.0, 2.0**-128, 0.25, 0.3, 1.0, 2.0]))
    indexes = st.lists(st.integers(-5, 5), unique=True, max_size=5).map(sorted)
    sides = [
        tuple((i, draw(COUNTS)) for i in draw(indexes) if bound(i, schema) > threshold)
        for _ in range(2)
    ]
    zero = draw(COUNTS)
    return HistogramRow(
        schema=schema,
        count=sum(c for side in sides for _, c in side) + zero,
        sum=float(draw(st.integers(-20, 20))),
        zero_threshold=threshold,
        zero_count=zero,
        positive=sides[0],
        negative=sides[1],
        hint=draw(st.sampled_from(hints)),
    )


@st.composite
def custom(draw, *, hints=tuple(ResetHint)):
    """A well-formed histogram of custom buckets."""
    bounds = draw(st.lists(st.sampled_from([-5.0, -1.0, 0.0, 1.0, 2.0, 5.0]), unique=True))
    bounds = tuple(sorted(bounds))
    indexes = draw(st.lists(st.integers(0, len(bounds)), unique=True).map(sorted))
    side = tuple((i, draw(COUNTS)) for i in indexes)
    return HistogramRow(
        schema=CUSTOM,
        count=sum(c for _, c in side),
        sum=float(draw(st.integers(-20, 20))),
        positive=side,
        bounds=bounds,
        hint=draw(st.sampled_from(hints)),
    )


def any_histogram(**more):
    """Mostly exponential."""
    return st.one_of(exponential(**more), exponential(**more), custom(**more))


def same_kind(**more):
    """Lists of histograms that can be added: all exponential, or all custom."""
    lists = [st.lists(kind(**more), min_size=1, max_size=6) for kind in (exponential, custom)]
    return st.one_of(*lists)


def assert_same_row(found, expected):
    """The same, and without empty buckets."""
    assert all(count != 0 for _, count in (*found.positive, *found.negative))
    assert found == expected
