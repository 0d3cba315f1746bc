"""Vector matching as Prometheus describes it: one step, plain dicts. The oracle of the matrices."""

import math
import operator

from promql.syntax import Cardinality

DROPPED = ("__name__", "__type__", "__unit__")

COMPARE = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class RefusedError(Exception):
    """The step has no answer; the text is the beginning of the message."""


def compute(op, left, right):
    """(value, keep) of two floats."""
    if op in COMPARE:
        return left, COMPARE[op](left, right)
    if op == "+":
        return left + right, True
    if op == "*":
        return left * right, True
    assert op == "-"
    return left - right, True


def signature(labels, matching):
    if matching.on:
        kept = {name: labels.get(name, "") for name in matching.labels}
    else:
        kept = {n: v for n, v in labels.items() if n not in matching.labels and n != "__name__"}
    return tuple(sorted((n, v) for n, v in kept.items() if v))


def canonical(labels):
    return tuple(sorted((name, value) for name, value in labels.items() if value))


def without(labels, names):
    return {name: value for name, value in labels.items() if name not in names}


def result_labels(many, one, op, matching, return_bool):
    labels = dict(many) if op in COMPARE else without(many, DROPPED)
    if matching.cardinality is Cardinality.ONE_TO_ONE:
        if matching.on:
            labels = {name: value for name, value in labels.items() if name in matching.labels}
        else:
            labels = without(labels, matching.labels)
    for name in matching.include:
        labels[name] = one.get(name, "")
    return without(labels, DROPPED) if return_bool else labels


def vector_binary(op, left, right, matching, return_bool=False):
    """`left`, `right`: lists of (labels, value). Returns {canonical labels: value}."""
    if not left or not right:
        return {}
    swapped = matching.cardinality is Cardinality.ONE_TO_MANY
    many, one = (right, left) if swapped else (left, right)
    of_signature = {}
    for labels, value in one:
        if signature(labels, matching) in of_signature:
            raise RefusedError("found duplicate series for the match group")
        of_signature[signature(labels, matching)] = (labels, value)
    seen, out, twice = set(), {}, False
    for labels, value in many:
        sig = signature(labels, matching)
        if sig not in of_signature:
            continue
        other_labels, other = of_signature[sig]
        first, second = (other, value) if swapped else (value, other)
        result, keep = compute(op, first, second)
        if matching.cardinality is Cardinality.ONE_TO_ONE:
            if sig in seen:
                raise RefusedError("multiple matches for labels: many-to-one matching must be")
            seen.add(sig)
        if return_bool:
            result = float(keep)
        elif not keep:
            continue
        made = canonical(result_labels(labels, other_labels, op, matching, return_bool))
        if matching.cardinality is not Cardinality.ONE_TO_ONE:
            if (sig, made) in seen:
                raise RefusedError("multiple matches for labels: grouping labels must ensure")
            seen.add((sig, made))
        twice = twice or made in out
        out[made] = result
    if twice:
        raise RefusedError("vector cannot contain metrics with the same labelset")
    return out


def set_operation(op, left, right, matching):
    left_sigs = {signature(labels, matching) for labels, _ in left}
    right_sigs = {signature(labels, matching) for labels, _ in right}
    if op == "and":
        kept = [row for row in left if signature(row[0], matching) in right_sigs]
    elif op == "unless":
        kept = [row for row in left if signature(row[0], matching) not in right_sigs]
    else:
        kept = left + [row for row in right if signature(row[0], matching) not in left_sigs]
    return {canonical(labels): value for labels, value in kept}


def at_step(rows, step):
    return [(labels, values[step]) for labels, values in rows if values[step] is not None]


def over_steps(steps, answer):
    """Lay answers of single steps side by side: {labels: [value or None, ...]}."""
    out = {}
    for step in range(steps):
        for labels, value in answer(step).items():
            out.setdefault(labels, [None] * steps)[step] = value
    return out


def same(a, b):
    return a == b or (math.isnan(a) and math.isnan(b))
