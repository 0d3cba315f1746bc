"""List and watch against a server that pages, expires, refuses, breaks and goes away."""

import asyncio
import logging

import pytest

from discovery.http_client import Authorization, HttpClientConfig
from discovery.kubernetes import client, watches
from discovery.kubernetes.settings import Selector
from tests.discovery.kubernetes import cluster
from tests.discovery.kubernetes.follower import PODS, follow, pods, run, wait


def test_lists_come_in_pages_of_one_version(monkeypatch):
    monkeypatch.setattr(watches, "PAGE", 2)

    async def body(api):
        pods(api, *"abcde")
        async with follow(api) as found:
            await found.until(*(f"pod/default/{name}" for name in "abcde"))
            await wait(lambda: api.watches(PODS) == 1)
            lists = [r.query for r in api.requests if r.verb == "list"]
            assert [query.get("limit") for query in lists] == ["2"] * 3
            assert [("continue" in query) for query in lists] == [False, True, True]
            (watch,) = [r.query for r in api.requests if r.verb == "watch"]
            assert watch["resourceVersion"] == str(api._version)
            assert watch["allowWatchBookmarks"] == "true"
            assert 300 <= int(watch["timeoutSeconds"]) <= 600

    run(body)


def test_a_page_that_expired_begins_the_list_again(monkeypatch):
    monkeypatch.setattr(watches, "PAGE", 2)

    async def body(api):
        pods(api, *"abc")
        pages = client.ApiClient.page

        async def page(self, path, query, accept):
            if "continue" in query and len(api.requests) < 3:
                api.compact()
            return await pages(self, path, query, accept)

        monkeypatch.setattr(client.ApiClient, "page", page)
        async with follow(api) as found:
            await found.until(*(f"pod/default/{name}" for name in "abc"))
            lists = [r.query for r in api.requests if r.verb == "list"]
            assert [("continue" in query) for query in lists] == [False, True, False, True]

    run(body)


def test_long_lists_are_compressed_and_lines_may_be_long():
    async def body(api):
        long = {"note": "x" * 300_000}
        api.put("pods", cluster.pod("a", annotations=long))
        async with follow(api) as found:
            await found.until("pod/default/a")
            assert api.requests[0].headers["Accept-Encoding"] == "gzip"
            api.put("pods", cluster.pod("b", annotations={"note": "x" * 2_000_000}))
            await found.until("pod/default/a", "pod/default/b")

    run(body)


@pytest.mark.parametrize("by_status", [False, True], ids=["as a line", "as a status"])
def test_410_lists_again_and_takes_away_what_is_gone(by_status):
    async def body(api):
        pods(api, "a", "b")
        async with follow(api) as found:
            await found.until("pod/default/a", "pod/default/b")
            await wait(lambda: api.watches() == 1)
            api.silent = True
            api.delete("pods", "a", "default")
            pods(api, "c")
            api.compact()
            api.gone_by_status = by_status
            api.cut_all()
            api.silent = False
            await found.until("pod/default/b", "pod/default/c")
            # What stays is never told twice, what goes is told with what comes.
            assert sorted(found.updates[1]) == ["pod/default/a", "pod/default/c"]
            assert [r.verb for r in api.requests].count("list") == 2

    run(body)


def test_a_watch_that_is_overtaken_lists_again():
    async def body(api):
        pods(api, "a")
        async with follow(api) as found:
            await found.until("pod/default/a")
            await wait(lambda: api.watches() == 1)
            pods(api, "b")
            api.compact()
            await found.until("pod/default/a", "pod/default/b")

    run(body)


def test_a_server_that_always_says_410_is_not_asked_without_pause(monkeypatch):
    monkeypatch.setattr(watches, "BACKOFF_S", (0.2, 0.2))

    async def body(api):
        pods(api, "a")
        async with follow(api) as found:
            await found.until("pod/default/a")
            real = api._list

            def old(request, view):
                answer = real(request, view)
                api._version += 5
                api.compact()
                return answer

            api._list = old
            api.compact()
            api.cut_all()
            await asyncio.sleep(0.8)
            assert [r.verb for r in api.requests].count("list") < 12
            assert set(found.groups) == {"pod/default/a"}

    run(body)


def test_a_bookmark_moves_the_version_on():
    async def body(api):
        pods(api, "a")
        async with follow(api, selectors=(Selector("pod", field="metadata.name=a"),)) as found:
            await found.until("pod/default/a")
            await wait(lambda: api.watches() == 1)
            pods(api, "other")  # no event for us, but the version of the cluster moves
            marked = str(api._version)
            for _ in range(2):  # the first may have been under way
                (watch,) = found.discovery.stats().watches
                heard = watch.heard_s
                await wait(lambda heard=heard: found.discovery.stats().watches[0].heard_s > heard)
            api.compact()
            api.cut_all()
            await wait(lambda: api.requests[-1].query.get("resourceVersion") == marked)
            await asyncio.sleep(0.1)
            assert [r.verb for r in api.requests].count("list") == 1

    run(body, bookmark_s=0.03)


def test_a_watch_that_ends_goes_on_where_it_was(monkeypatch):
    monkeypatch.setattr(client, "WATCH_S", (1, 1))
    monkeypatch.setattr(watches, "_SHORT_S", 0.5)

    async def body(api):
        pods(api, "a")
        async with follow(api) as found:
            await found.until("pod/default/a")
            await wait(lambda: [r.verb for r in api.requests].count("watch") == 3)
            assert [r.verb for r in api.requests].count("list") == 1
            assert found.discovery.stats().failures == 0
            pods(api, "b")
            await found.until("pod/default/a", "pod/default/b")

    run(body)


def test_a_line_that_is_cut_is_read_again():
    async def body(api):
        pods(api, "a")
        async with follow(api) as found:
            await found.until("pod/default/a")
            await wait(lambda: api.watches() == 1)
            api.cut_watches = 2
            pods(api, "b")
            await wait(lambda: "pod/default/b" in found.groups)
            assert found.discovery.stats().failures == 2
            assert found.failing == []

    run(body)


def test_silence_is_noticed_and_after_a_second_time_the_list_is_asked_for(monkeypatch):
    monkeypatch.setattr(client, "SILENCE_S", 0.1)

    async def body(api):
        pods(api, "a")
        async with follow(api) as found:
            await found.until("pod/default/a")
            api.silent = True
            pods(api, "b")
            await wait(lambda: "pod/default/b" in found.groups)
            assert [r.verb for r in api.requests][:4] == ["list", "watch", "watch", "list"]

    run(body)


def test_an_outage_takes_nothing_away_and_is_told_once(caplog):
    async def body(api):
        pods(api, "a", "b")
        async with follow(api) as found:
            await found.until("pod/default/a", "pod/default/b")
            await wait(lambda: api.watches() == 1)
            heard = found.discovery.stats().watches[0].heard_s
            await api.stop()
            await wait(lambda: found.discovery.stats().failures > 3)
            assert set(found.groups) == {"pod/default/a", "pod/default/b"}
            (watch,) = found.failing
            assert "onnect" in watch.last_error
            assert watch.heard_s == heard
            assert watch.objects == 2
            api.delete("pods", "a", "default")
            await api.start()
            await found.until("pod/default/b")
            assert found.failing == []
        errors = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
        assert 1 <= len(errors) <= 2  # the cut, and then the refusal to connect
        assert "verb=watch resource=pods namespace=(all)" in errors[0]

    run(body)


def test_a_start_without_the_server_waits_for_it():
    async def body(api):
        pods(api, "a")
        port = api.port
        await api.stop()
        async with follow(api) as found:
            await wait(lambda: found.discovery.stats().failures > 2)
            assert found.updates == []
            assert api.port == port
            await api.start()
            await found.until("pod/default/a")

    run(body)


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param((503, {}, "no server available"), id="unavailable, in plain text"),
        pytest.param((500, {"Content-Type": "application/json"}, "{"), id="broken JSON"),
        pytest.param((200, {"Content-Type": "application/json"}, "[]"), id="not an object"),
        pytest.param((200, {}, '{"metadata": {"resourceVersion": "1"}, "items": [7]}'), id="odd"),
        pytest.param((200, {}, '{"metadata": {}, "items": []}'), id="without a version"),
        pytest.param((404, {}, "404 page not found"), id="an API group that is not there"),
        pytest.param((200, {"Content-Encoding": "gzip"}, "no gzip"), id="broken gzip"),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_bad_answer_is_a_failure_and_then_forgotten(refusal):
    async def body(api):
        pods(api, "a")
        api.refuse = [refusal]
        async with follow(api) as found:
            await found.until("pod/default/a")
            assert found.discovery.stats().failures == 1
            assert found.failing == []

    run(body)


def test_the_server_says_when_to_come_again():
    async def body(api):
        pods(api, "a")
        api.refuse = [(429, {"Retry-After": "1"}, "too many requests")]
        async with follow(api) as found:
            began = asyncio.get_running_loop().time()
            await found.until("pod/default/a")
            assert asyncio.get_running_loop().time() - began >= 1

    run(body)


def test_a_token_file_is_read_anew(tmp_path):
    path = tmp_path / "token"
    path.write_text("one\n")

    async def body(api):
        pods(api, "a")
        http = HttpClientConfig(authorization=Authorization(credentials_file=path))
        async with follow(api, http=http) as found:
            await found.until("pod/default/a")
            api.token = "two"
            pods(api, "b")
            api.cut_all()
            await wait(lambda: found.failing and "401" in found.failing[0].last_error)
            path.write_text("two")
            await found.until("pod/default/a", "pod/default/b")

    run(body, token="one")
