"""Files for browsers: those of the directory, and nothing beside it however it is asked for."""

import pytest

from api.user_assets import read_inside
from api.views import ApiOptions


@pytest.fixture
def assets(api, tmp_path):
    folder = tmp_path / "assets"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.html").write_text("<p>a")
    (folder / "sub" / "index.html").write_text("sub")
    (folder / "data").write_bytes(b"\0\1")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "assets-too").mkdir()
    (tmp_path / "assets-too" / "x").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "inside").symlink_to(folder / "a.html")
    api.options = ApiOptions(user_assets=str(folder))
    return api


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("a.html", "<p>a", "text/html; charset=utf-8"),
        ("sub/", "sub", "text/html; charset=utf-8"),
        ("data", "\0\1", "application/octet-stream"),
        pytest.param("inside", "<p>a", "text/html; charset=utf-8", id="a link that stays inside"),
    ],
)
def test_files_are_served(assets, path, body, kind):
    reply = assets.ask("GET", f"/user/{path}")
    assert (reply.status, reply.text, reply.headers["Content-Type"]) == (200, body, kind)
    assert reply.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "nope",
        "../secret",
        "..%2fsecret",
        "%2e%2e/secret",
        "sub/../../secret",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "../assets-too/x",
        "link",
        "loop",
        "a%00b",
        "%ff",
    ],
)
def test_nothing_else_is(assets, path):
    reply = assets.ask("GET", f"/user/{path}")
    assert reply.status in (301, 404)
    assert "secret" not in reply.text


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "link", "../assets-too/x", "\0"])
def test_whatever_the_router_lets_through(assets, name, tmp_path):
    assert read_inside(tmp_path / "assets", name) is None


def test_without_a_directory_there_are_none(api):
    assert api.ask("GET", "/user/a.html").status == 404
