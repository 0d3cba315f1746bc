# ruff: noqa: E501 (one case a line)

import pytest

from promql.parsing.lexing import END_OF_INPUT, LEXICAL_ERROR, TERMINALS, tokenize


def shown(text):
    """The tokens of a text as `NAME:text`, and the error at its end."""
    tokens = tokenize(text)
    words = [
        f"{TERMINALS[kind]}:{tokens.value(index)}" for index, kind in enumerate(tokens.kinds[:-1])
    ]
    if tokens.kinds[-1] == LEXICAL_ERROR:
        words.append(f"error at {tokens.starts[-1]}: {tokens.fault}")
    else:
        assert tokens.kinds[-1] == END_OF_INPUT
    return words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("Sum", ["SUM:Sum"], id="keywords in any case"),
        pytest.param("a:b", ["METRIC_IDENTIFIER:a:b"], id="a colon makes it a metric"),
        pytest.param(
            "{sum='a'}",
            ["LEFT_BRACE:{", "IDENTIFIER:sum", "EQL:=", "STRING:'a'", "RIGHT_BRACE:}"],
            id="no keywords inside braces",
        ),
        pytest.param(
            "a<=b</c!=d",
            [
                "IDENTIFIER:a",
                "LTE:<=",
                "IDENTIFIER:b",
                "TRIM_UPPER:</",
                "IDENTIFIER:c",
                "NEQ:!=",
                "IDENTIFIER:d",
            ],
            id="the longest operator",
        ),
        pytest.param("fill", ["IDENTIFIER:fill"], id="fill alone is a name"),
        pytest.param("fill \n(", ["FILL:fill", "LEFT_PAREN:(", "error at 7: unclosed left parenthesis"],
                     id="fill before a parenthesis is not"),
        pytest.param("1 # 2\r3", ["NUMBER:1", "NUMBER:3"], id="a comment ends with its line"),
        pytest.param("'# a'", ["STRING:'# a'"], id="no comment in a string"),
        pytest.param("1.5h", ["DURATION:1.5h"], id="a bad duration is one token"),
        pytest.param(
            "[( ) : 1]",
            ["LEFT_BRACKET:[", "LEFT_PAREN:(", "RIGHT_PAREN:)",
             "error at 6: unexpected colon before duration in duration expression"],
            id="a colon only after a number or word",
        ),
        pytest.param(
            "[1+step():2]",
            ["LEFT_BRACKET:[", "NUMBER:1", "ADD:+", "STEP:step", "LEFT_PAREN:(", "RIGHT_PAREN:)",
             "COLON::", "NUMBER:2", "RIGHT_BRACKET:]"],
            id="words of durations in brackets",
        ),
        pytest.param(
            "[5m x]",
            ["LEFT_BRACKET:[", "DURATION:5m", "error at 4: unexpected character: 'x', expected ':'"],
            id="other words in brackets",
        ),
        pytest.param("[1[", ["LEFT_BRACKET:[", "NUMBER:1", "error at 2: unexpected left bracket '['"],
                     id="a bracket in a bracket"),
        pytest.param("]", ["error at 0: unexpected right bracket ']'"], id="a bracket too many"),
        pytest.param("{{", ["LEFT_BRACE:{", "error at 1: unexpected left brace '{'"],
                     id="a brace in a brace"),
        pytest.param("{a!b", ["LEFT_BRACE:{", "IDENTIFIER:a",
                     "error at 2: unexpected character after '!' inside braces: 'b'"],
                     id="half an operator"),
        pytest.param("'a\nb'", ["error at 0: unterminated quoted string"], id="a line end in quotes"),
        pytest.param("'\ufffd'", ["error at 0: invalid UTF-8 rune"], id="the replacement character"),
        pytest.param("`\udcff`", ["error at 0: invalid UTF-8 rune"], id="a byte that is no text"),
        pytest.param("'\\400'", ["error at 0: escape sequence is an invalid Unicode code point"],
                     id="an octal escape beyond a byte"),
        pytest.param("'\\8'", ["error at 0: unknown escape sequence U+0038 '8'"],
                     id="no such escape"),
        pytest.param("'\\x", ["error at 0: escape sequence not terminated"], id="half an escape"),
    ],
)  # fmt: skip
def test_tokens(text, expected):
    assert shown(text) == expected
