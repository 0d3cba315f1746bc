import pytest

from promql.quoting import quote


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        pytest.param("plain", '"plain"', id="plain text is only wrapped"),
        pytest.param("", '""', id="empty"),
        pytest.param("ümläut 漢", '"ümläut 漢"', id="printable characters stay"),
        pytest.param('a"b\\c', '"a\\"b\\\\c"', id="quotes and backslashes"),
        pytest.param("\a\b\f\n\r\t\v", '"\\a\\b\\f\\n\\r\\t\\v"', id="the short escapes"),
        pytest.param("\x00\x1f\x7f", '"\\x00\\x1f\\x7f"', id="other control characters"),
        pytest.param("\u00a0\u2028", '"\\u00a0\\u2028"', id="spaces other than the plain one"),
        pytest.param("\U000e0001", '"\\U000e0001"', id="beyond the basic plane"),
        pytest.param("a\udcc5z", '"a\\xc5z"', id="a byte that is not UTF-8"),
    ],
)
def test_as_go_quotes(text, quoted):
    assert quote(text) == quoted
