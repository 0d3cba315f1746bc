import pytest

from gnomon.promqltest.script import Clear, Eval, Load, Message, ScriptError, parse
from gnomon.promqltest.values import HistogramPoint


def only(text):
    (command,) = parse(text)
    return command


def test_a_script_is_a_list_of_commands_with_their_lines():
    commands = parse("# nothing\nload 5m\n  a 1 2\n\nclear\n\neval instant at 1m a\n  a 1\n")
    assert [(type(command), command.line) for command in commands] == [
        (Load, 2),
        (Clear, 5),
        (Eval, 7),
    ]


def test_a_comment_ends_a_command_as_an_empty_line_does():
    load, evaluation = parse("load 1m\n a 1\n# comment\neval instant at 0 a\n")
    assert len(load.series) == 1
    assert evaluation.expectation.series == ()


def test_load_with_start_timestamps():
    load = only("load 1m\n  a@st _ -1m\n  a 1 2\n")
    assert load.series[0].start_offsets_ms == (None, -60_000)


def test_load_with_nhcb_and_histograms():
    load = only("LOAD_WITH_NHCB 30s\n a {{sum:1}} 1\n")
    assert (load.with_nhcb, load.interval_ms) == (True, 30_000)
    assert isinstance(load.series[0].points[0], HistogramPoint)


def test_instant_and_range():
    instant = only("eval instant at 50m sum(a)\n {} 3\n")
    assert (instant.start_ms, instant.instant, instant.expr) == (3_000_000, True, "sum(a)")
    ranged = only("eval range from 0 to 10m step 1m a\n")
    assert (ranged.start_ms, ranged.end_ms, ranged.step_ms) == (0, 600_000, 60_000)


@pytest.mark.parametrize(
    ("lines", "member", "value"),
    [
        pytest.param("expect fail", "fail", Message(), id="any failure"),
        pytest.param("expect fail msg:boom", "fail", Message(text="boom"), id="a failure's text"),
        pytest.param("expect fail regex: b.*m", "fail", Message(regex="b.*m"), id="a pattern"),
        pytest.param("expect no_warn", "warn", (), id="no warning"),
        pytest.param(
            "expect warn msg: a\nexpect warn",
            "warn",
            (Message(text="a"), Message()),
            id="two warnings",
        ),
        pytest.param("expect info", "info", (Message(),), id="an info"),
        pytest.param("{} 1", "warn", None, id="warnings not looked at"),
        pytest.param("expect ordered", "ordered", True, id="ordered"),
        pytest.param('expect string "a\\tb"', "string", "a\tb", id="a string"),
        pytest.param(
            "expect range vector from 10s to 1m step 10s",
            "range_vector",
            (10_000, 60_000, 10_000),
            id="a range vector",
        ),
        pytest.param("-4.5", "scalar", -4.5, id="a bare number is a scalar"),
        pytest.param("0x1f", "scalar", 31.0, id="a scalar may be hexadecimal"),
    ],
)
def test_expectations(lines, member, value):
    assert getattr(only(f"eval instant at 0 x\n{lines}\n").expectation, member) == value


def test_old_style_words_mean_the_same():
    failing = only("eval_fail instant at 0 x\n  expected_fail_message boom\n")
    assert failing.expectation.fail == Message(text="boom")
    assert only("eval_ordered instant at 0 x\n").expectation.ordered
    assert only("eval_warn instant at 0 x\n").expectation.warn == (Message(),)


def test_a_scalar_ends_its_command():
    first, second = parse("eval instant at 0 1\n1\neval instant at 0 2\n2\n")
    assert (first.expectation.scalar, second.expectation.scalar) == (1.0, 2.0)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param("hello\n", 1, id="no command"),
        pytest.param("clear\n\nload\n", 3, id="a load without interval"),
        pytest.param("load 1m\n a 1\n a b\n", 3, id="a series line that is none"),
        pytest.param("load 1m\n a@st 1s\n a 1 2\n", 3, id="start timestamps of another number"),
        pytest.param("eval instant 5m x\n", 1, id="an eval without at"),
        pytest.param("eval instant at 0 x\n expect wonders\n", 2, id="an unknown expectation"),
        pytest.param("eval instant at 0 x\n expect fail\n expect fail\n", 3, id="two failures"),
        pytest.param("load 5x\n a 1\n", 1, id="a unit that is none"),
    ],
)
def test_errors_name_the_line(text, line):
    with pytest.raises(ScriptError) as caught:
        parse(text)
    assert caught.value.line == line
