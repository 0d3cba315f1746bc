from gnomon.cli import main

GOOD = "load 1m\n  a 1 2\n\neval instant at 1m a\n  a 2\n"
BAD = GOOD + "\neval instant at 1m a + 1\n  {} 4\n"


def test_a_good_script_ends_with_zero(tmp_path, capsys):
    (tmp_path / "good.test").write_text(GOOD)
    assert main(["test", "promql", str(tmp_path / "good.test")]) == 0
    assert capsys.readouterr().out == "1 passed, 0 failed\n"


def test_a_failure_names_file_line_expression_and_reason(tmp_path, capsys):
    (tmp_path / "sub").mkdir()
    path = tmp_path / "sub" / "bad.test"
    path.write_text(BAD)
    assert main(["test", "promql", str(tmp_path)]) == 1
    first, reason, last = capsys.readouterr().out.splitlines()
    assert first == f"{path}:7: a + 1"
    assert "expected 4.0 for {}, got 3.0" in reason
    assert last == "1 passed, 1 failed"


def test_what_is_no_script_is_one_failure(tmp_path, capsys):
    path = tmp_path / "x.test"
    path.write_text("hello\n")
    assert main(["test", "promql", "-q", str(path)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{path}:1: not a test script",
        "    not a command: 'hello'",
        "0 passed, 1 failed",
    ]


def test_what_is_not_there_is_an_error(tmp_path, capsys):
    assert main(["test", "promql", str(tmp_path)]) == 1
    assert "no .test files below" in capsys.readouterr().err
