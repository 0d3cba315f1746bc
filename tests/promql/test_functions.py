import pytest

from promql.errors import ExecutionError
from promql.functions import FUNCTIONS, implementation
from promql.signatures import SIGNATURES

SPECIAL = {"info"}
"""What `evaluate.py` treats by itself: it reads a selection of its own."""

NOT_BUILT = {"start_timestamp"}
"""Known to the parser, refused by name; the list only ever shrinks."""


def test_every_function_of_the_parser_has_code():
    assert set(SIGNATURES) == set(FUNCTIONS) | SPECIAL | NOT_BUILT


@pytest.mark.parametrize("name", sorted(NOT_BUILT))
def test_what_is_not_built_says_so_by_name(name):
    with pytest.raises(ExecutionError, match=f'function "{name}" is not supported yet'):
        implementation(name)
