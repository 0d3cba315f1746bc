"""The admin API: off by default; then commands reach storage with what was asked."""

from __future__ import annotations

import pytest

from api.views import ApiOptions
from tsdb.errors import WriteFailedError
from tsdb.interface import Matcher, MatchOp

DELETE, CLEAN, SNAPSHOT = (
    f"/api/v1/admin/tsdb/{name}" for name in ("delete_series", "clean_tombstones", "snapshot")
)
EVER = 2**62


@pytest.fixture
def admin(api):
    api.options = ApiOptions(enable_admin_api=True)
    return api


@pytest.mark.parametrize("path", [f"{DELETE}?match[]=up", CLEAN, SNAPSHOT])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_without_its_flag_it_refuses(api, method, path):
    reply = api.ask(method, path)
    assert (reply.status, reply.json["errorType"], reply.json["error"]) == (
        500,
        "unavailable",
        "admin APIs disabled",
    )
    assert api.view.commands == []


@pytest.mark.parametrize("path", [DELETE, CLEAN, SNAPSHOT])
def test_commands_are_not_for_get(admin, path):
    assert admin.ask("GET", path).status == 405


UP = (Matcher("__name__", MatchOp.EQUAL, "up"),)


@pytest.mark.parametrize(
    ("query", "form", "command"),
    [
        pytest.param("match[]=up", None, ("delete", [UP], -EVER, EVER), id="for all of time"),
        pytest.param("match[]=up&start=1&end=2.5", None, ("delete", [UP], 1000, 2500),
                     id="for a range"),
        pytest.param("match[]=up", {"match[]": "up", "end": "7"}, ("delete", [UP, UP], -EVER, 7000),
                     id="the form comes first, the URL after it"),
        pytest.param("match[]={}", None, ("delete", [()], -EVER, EVER), id="everything"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_series_are_deleted(admin, method, query, form, command):
    reply = admin.ask(method, f"{DELETE}?{query}", **({"data": form} if form else {}))
    assert (reply.status, reply.body) == (204, b"")
    assert admin.view.commands == [command]


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("", "no match[] parameter provided"),
        ("match[]=up&start=x",
         'invalid parameter "start": invalid time value for \'start\': '
         'cannot parse "x" to a valid timestamp'),
        ("match[]=up{", 'invalid parameter "match[]": 1:4: parse error: '
         'unexpected end of input inside braces'),
    ],
)  # fmt: skip
def test_what_delete_series_refuses(admin, query, error):
    reply = admin.ask("POST", f"{DELETE}?{query}")
    assert (reply.status, reply.json["errorType"], reply.json["error"]) == (400, "bad_data", error)
    assert admin.view.commands == []


@pytest.mark.parametrize(
    ("query", "skip_head"), [("", False), ("?skip_head=true", True), ("?skip_head=0", False)]
)
def test_a_snapshot_is_named(admin, query, skip_head):
    reply = admin.ask("POST", SNAPSHOT + query)
    assert reply.json == {
        "status": "success",
        "data": {"name": "20261123T202647Z-0b06fd428bef36ee"},
    }
    assert admin.view.commands == [("snapshot", skip_head)]


def test_a_snapshot_with_a_bad_flag(admin):
    reply = admin.ask("POST", f"{SNAPSHOT}?skip_head=maybe")
    assert (reply.status, reply.json["error"]) == (
        400,
        'invalid parameter "skip_head": unable to parse boolean: '
        'strconv.ParseBool: parsing "maybe": invalid syntax',
    )


def test_tombstones_are_cleaned(admin):
    assert admin.ask("PUT", CLEAN).status == 204
    assert admin.view.commands == [("clean",)]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (WriteFailedError("log is full"), "clean tombstones: "),
        (OSError(28, "No space left on device"), "clean tombstones: [Errno 28] No space left"),
    ],
)
def test_what_the_disk_refuses_is_told(admin, error, text):
    admin.view.command_error = error
    reply = admin.ask("POST", CLEAN)
    assert (reply.status, reply.json["errorType"]) == (500, "internal")
    assert reply.json["error"].startswith(text)
