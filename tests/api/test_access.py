"""Users, passwords and headers: who is let in, and what that costs."""

from __future__ import annotations

import asyncio
import base64

import bcrypt
import pytest

from api import access
from api.access import Access, AccessRules, RateLimit


def hashed(password):
    return bcrypt.hashpw(password, bcrypt.gensalt(4))


RULES = AccessRules(
    users={"ann": hashed(b"secret"), "bob": hashed(b"p:w"), "odd": b"$2y$10$broken"},
    headers={"X-Frame-Options": "DENY"},
)


def basic(name, password):
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("header", "status"),
    [
        pytest.param(basic("ann", "secret"), 200, id="the right password"),
        pytest.param(basic("bob", "p:w"), 200, id="a colon in the password"),
        pytest.param(basic("ann", "secret").replace("Basic", "basic"), 200, id="any case"),
        pytest.param(None, 401, id="no header"),
        pytest.param(basic("ann", "wrong"), 401, id="a wrong password"),
        pytest.param(basic("ann", "p:w"), 401, id="another user's password"),
        pytest.param(basic("eve", "secret"), 401, id="an unknown user with a password in use"),
        pytest.param(basic("odd", "x"), 401, id="a hash that is none"),
        pytest.param(basic("ann", "se\0cret"), 401, id="a zero byte"),
        pytest.param(basic("ann", "x" * 500), 401, id="a very long password"),
        pytest.param("Basic !!!", 401, id="no base64"),
        pytest.param("Basic " + base64.b64encode(b"ann").decode(), 401, id="no colon"),
        pytest.param("Bearer secret", 401, id="another scheme"),
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/query?query=1", "/-/healthy"])
def test_who_is_let_in(api, header, status, path):
    api.rules = RULES
    headers = {} if header is None else {"Authorization": header}
    for reply in api.ask_all([("GET", path, {"headers": headers})] * 2):
        assert reply.status == status
        assert reply.headers["X-Frame-Options"] == "DENY"
        if status == 401:
            assert reply.headers["WWW-Authenticate"] == "Basic"
            assert reply.text == "Unauthorized\n"


def test_every_path_is_guarded(api):
    api.rules = RULES
    paths = ["/", "/nope", "/metrics", "/federate", "/api/v1/write", "/api/v1/nope", "/-/ready"]
    requests = [(method, path, {}) for path in paths for method in ("GET", "POST", "OPTIONS")]
    assert {reply.status for reply in api.ask_all(requests)} == {401}


def test_without_users_all_may_ask_and_headers_are_set(api):
    api.rules = AccessRules(headers={"X-Content-Type-Options": "nosniff"})
    good, missing = api.ask_all([("GET", "/api/v1/query?query=1", {}), ("GET", "/nope", {})])
    assert (good.status, missing.status) == (200, 404)
    assert good.headers["X-Content-Type-Options"] == "nosniff"


class Asking:
    """As much of a request as access looks at."""

    def __init__(self, header="", certificate=None):
        self.headers = {"Authorization": header}
        self.transport = self
        self._certificate = certificate

    def get_extra_info(self, _name):
        return self._certificate


def test_requests_beyond_the_rate_are_sent_away():
    now_s = [100.0]

    async def scenario():
        guard = Access(AccessRules(rate=RateLimit(0.5, 2)), lambda: now_s[0])

        async def passed(count):
            return [await guard.refusal(Asking()) is None for _ in range(count)]

        try:
            assert await passed(3) == [True, True, False]
            now_s[0] += 0.5
            assert await passed(2) == [True, False]
            now_s[0] += 100
            assert await passed(3) == [True, True, False]
            assert (await guard.refusal(Asking())).status == 429
        finally:
            await guard.close()

    asyncio.run(scenario())


def test_a_password_is_checked_once(monkeypatch):
    checks = []
    monkeypatch.setattr(access, "_matches", lambda password, _: checks.append(password) or True)

    async def scenario():
        guard = Access(AccessRules(users={"ann": b"$2y$1"}))
        try:
            for name in ("ann", "ann", "eve", "eve"):
                refused = await guard.refusal(Asking(basic(name, "x")))
                assert (refused is None) == (name == "ann")
            guard.rules = AccessRules(users={"ann": b"$2y$2"})
            assert await guard.refusal(Asking(basic("ann", "x"))) is None
        finally:
            await guard.close()

    asyncio.run(scenario())
    assert len(checks) == 3, "once for each name, and again for a new hash"


def test_outcomes_are_forgotten_in_time(monkeypatch):
    monkeypatch.setattr(access, "REMEMBERED_MAX", 3)
    outcomes = {}
    for number in range(5):
        access._remember(outcomes, bytes([number]))
    assert list(outcomes) == [b"\2", b"\3", b"\4"]


@pytest.mark.parametrize(
    ("certificate", "allowed"),
    [
        ({"subjectAltName": (("DNS", "a.example"), ("IP Address", "10.0.0.1"))}, True),
        ({"subjectAltName": (("DNS", "b.example"),)}, False),
        ({}, False),
        (None, False),
    ],
)
def test_client_certificates_need_an_allowed_name(certificate, allowed):
    async def scenario():
        guard = Access(AccessRules(client_names=frozenset({"a.example"})))
        try:
            return await guard.refusal(Asking(certificate=certificate))
        finally:
            await guard.close()

    refused = asyncio.run(scenario())
    assert (refused is None) == allowed
    assert allowed or refused.status == 403
