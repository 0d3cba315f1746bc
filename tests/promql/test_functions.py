from promql.functions import FUNCTIONS
from promql.signatures import SIGNATURES

SPECIAL = {"info"}
"""What `evaluate.py` treats by itself: it reads a selection of its own."""


def test_every_function_of_the_parser_has_code():
    assert set(SIGNATURES) == set(FUNCTIONS) | SPECIAL
