import pytest

from gnomon.cli import main


@pytest.fixture
def check(tmp_path, capsys):
    def run(text, *words):
        path = tmp_path / "c.yml"
        path.write_text(text)
        code = main(["check", "config", str(path), *words])
        out, err = capsys.readouterr()
        return code, out.replace(str(path), "F"), err.replace(str(path), "F")

    return run


def test_a_good_file(check):
    code, out, err = check("scrape_configs: [{job_name: a}]")
    assert (code, err) == (0, "")
    assert out == "Checking F\n SUCCESS: F is valid prometheus config file syntax\n\n"


def test_a_bad_file(check):
    code, out, err = check("nonsense: 1")
    assert (code, out) == (1, "Checking F\n\n")
    assert err == (
        "  FAILED: parsing YAML file F: yaml: unmarshal errors:\n"
        "  line 1: field nonsense not found in type config.plain (at nonsense)\n"
    )


def test_files_named_within_must_be_there(check):
    text = "scrape_configs: [{job_name: a, authorization: {credentials_file: nowhere}}]"
    code, _, err = check(text)
    assert code == 1
    assert 'error checking authorization credentials file "' in err
    assert check(text, "--syntax-only")[0] == 0


def test_a_file_that_is_not_there(capsys):
    assert main(["check", "config", "/nowhere.yml"]) == 1
    assert "FAILED: open /nowhere.yml: no such file or directory" in capsys.readouterr().err


def test_one_bad_file_among_good_ones_is_a_failure(check, tmp_path):
    (tmp_path / "bad.yml").write_text("x: 1")
    assert check("", str(tmp_path / "bad.yml"))[0] == 1


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        pytest.param("basic_auth_users: {u: $2b$04$abc}", 0, "web.yml SUCCESS", id="users"),
        pytest.param("basic_auth_users: {u: plain}", 1, "is not a bcrypt hash", id="a password"),
        pytest.param("nonsense: 1", 1, "field nonsense not found", id="a field that is none"),
        pytest.param("tls_server_config: {cert_file: a, key_file: b}", 1, "a: no such file",
                     id="certificates that are not there"),
    ],
)  # fmt: skip
def test_a_web_configuration(tmp_path, capsys, text, code, said):
    path = tmp_path / "web.yml"
    path.write_text(text)
    assert main(["check", "web-config", str(path)]) == code
    out = capsys.readouterr()
    assert said in out.out + out.err
