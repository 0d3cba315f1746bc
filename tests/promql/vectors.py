"""Small vectors and matching clauses that collide often: strategies for matching tests."""

from hypothesis import strategies as st

from promql.binary import evaluate_binary
from promql.syntax import Binary, Cardinality, VectorMatching
from tests.promql.matrices import ANY, context, matrix
from tests.promql.step_by_step import canonical

STEPS = 3
VALUES = st.lists(
    st.one_of(st.none(), st.sampled_from([0.0, 1.0, 2.0, float("nan"), float("inf")])),
    min_size=STEPS,
    max_size=STEPS,
)
LABELS = st.fixed_dictionaries(
    {},
    optional={
        "__name__": st.sampled_from(["m", "n"]),
        "a": st.sampled_from("12"),
        "b": st.sampled_from("12"),
        "c": st.sampled_from("12"),
    },
)
ROWS = st.lists(st.tuples(LABELS, VALUES), max_size=6, unique_by=lambda row: canonical(row[0]))
SUBSET = st.lists(st.sampled_from(["__name__", "a", "b", "c"]), max_size=3, unique=True)


@st.composite
def matchings(draw, cardinalities):
    cardinality = draw(st.sampled_from(cardinalities))
    one_to_one = cardinality in (Cardinality.ONE_TO_ONE, Cardinality.MANY_TO_MANY)
    return VectorMatching(
        cardinality,
        tuple(draw(SUBSET)),
        draw(st.booleans()),
        () if one_to_one else tuple(draw(SUBSET)),
    )


def evaluate(op, left, right, matching, return_bool=False, steps=STEPS):
    ctx = context(steps)
    node = Binary(op, ANY, ANY, return_bool, matching)
    return evaluate_binary(node, matrix(left, ctx), matrix(right, ctx), ctx)
