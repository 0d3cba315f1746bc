import pytest

from promql.matchers import make_matcher, matches_empty
from tsdb.interface import MatchOp


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        ("(", "missing closing ): `(`"),
        ("a)", "unexpected ): `a)`"),
        ("[a", "missing closing ]: `[a`"),
        ("*", "missing argument to repetition operator: `*`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("[z-a]", "invalid character class range: `z-a`"),
        (r"\8", r"invalid escape sequence: `\8`"),
        ("a\\", "trailing backslash at end of expression: ``"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("x(?<!a>b)", "invalid named capture: `(?<!a>`"),
        (r"a\C", r"invalid escape sequence: `\C`"),
        ("a\udcc5", "invalid UTF-8: `a\ufffd`"),
    ],
)
def test_bad_regular_expressions_are_called_what_go_calls_them(pattern, fault):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 the text is compared below
        make_matcher("a", MatchOp.MATCHES, pattern)
    assert str(caught.value) == f"error parsing regexp: {fault}"


def test_a_quoted_c_is_a_letter():
    assert make_matcher("a", MatchOp.MATCHES, r"\Q\C\E|\\C").value == r"\Q\C\E|\\C"


@pytest.mark.parametrize(
    ("op", "value", "expected"),
    [
        (MatchOp.EQUAL, "", True),
        (MatchOp.EQUAL, "a", False),
        (MatchOp.NOT_EQUAL, "", False),
        (MatchOp.NOT_EQUAL, "a", True),
        (MatchOp.MATCHES, "a*", True),
        (MatchOp.MATCHES, "a|b", False),
        (MatchOp.NOT_MATCHES, "a*", False),
        (MatchOp.NOT_MATCHES, ".+", True),
    ],
)
def test_whether_an_absent_label_matches(op, value, expected):
    assert matches_empty(make_matcher("l", op, value)) is expected
