"""The pages for browsers: safe, whole under any prefix, and nothing but their files."""

import re
from pathlib import Path

import pytest

from api import pages
from api.views import ApiOptions

UI = Path(pages.__file__).parent / "ui"


@pytest.mark.parametrize("address", ["/", *pages.PAGES])
def test_every_page_of_prometheus_has_an_answer_for_browsers(api, address):
    reply = api.ask("GET", f"{address}?g0.expr=up")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = reply.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    if address != "/":
        assert api.ask("POST", address).status == 405


def test_links_are_relative_and_lead_somewhere(api):
    page = api.ask("GET", "/")
    links = re.findall(r'(?:href|src)="([^"]+)"', page.text)
    assert len(links) > 10
    assert not [link for link in links if link.startswith(("/", "http"))]
    asked = [("GET", f"/{link}", {}) for link in links if not link.startswith("data:")]
    assert {reply.status for reply in api.ask_all(asked)} == {200}


def test_pages_hold_under_a_prefix(api):
    api.options = ApiOptions(external_url="https://mon.example/a", route_prefix="/b")
    page = api.ask("GET", "/b/targets")
    assert page.status == 200
    script = re.search(r'src="(ui/text.js[^"]*)"', page.text).group(1)
    assert api.ask("GET", f"/b/{script}").status == 200
    assert api.ask("GET", "/targets").status == 404


def test_the_title_is_text_whatever_stands_in_it(api):
    api.options = ApiOptions(page_title="</title><script>alert(1)</script>")
    text = api.ask("GET", "/").text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_files_are_kept_by_browsers_until_they_change(api):
    address = re.search(r'"(ui/style.css[^"]*)"', api.ask("GET", "/").text).group(1)
    assert "immutable" in api.ask("GET", f"/{address}").headers["Cache-Control"]
    assert api.ask("GET", "/ui/style.css").headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "name",
    ["index.html", "..%2fpages.py", "%2e%2e%2fpages.py", "nope.js", ".", "%00", "..%5cpages.py"],
)
def test_nothing_else_is_served(api, name):
    assert api.ask("GET", f"/ui/{name}").status == 404


@pytest.mark.parametrize("name", ["index.html", *pages.FILES])
def test_no_file_needs_what_the_policy_forbids(name):
    text = (UI / name).read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text)
    assert not re.search(r"\bon[a-z]+=|<style|style=|javascript:", text)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)


def test_all_files_are_named():
    assert {path.name for path in UI.iterdir()} == {"index.html", *pages.FILES}
