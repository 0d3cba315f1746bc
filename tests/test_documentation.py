"""Nothing that a user can type or ask is left out of the documents, and what they name is there."""

import ast
import re

import pytest

from api.routes import API_ROUTES, OTHER_ROUTES
from gnomon.cli import COMMANDS
from gnomon.flag_table import FLAGS, PROMQL_FEATURES
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()
PACKAGES = ("gnomon", "api", "scraper", "promql", "discovery", "tsdb", "tests", "benchmarks")
COMMAND_WORDS = (
    "serve",
    "query instant",
    "query range",
    "query explain",
    "query series",
    "query labels",
    "check config",
    "test promql",
    "tsdb list",
    "tsdb analyze",
    "tsdb import",
    "tsdb backfill",
    "tsdb dump",
    "tsdb export",
    "tsdb snapshot",
    "tsdb verify",
    "version",
)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_in_the_architecture(package):
    assert f"{package}/" in ARCHITECTURE


def test_every_package_there_is_is_known_here():
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert found <= set(PACKAGES)


@pytest.mark.parametrize("path", sorted({path for _, path, _ in (*API_ROUTES, *OTHER_ROUTES)}))
def test_every_route_is_in_the_readme(path):
    assert f"`{path.removeprefix('/api/v1')}`" in README


@pytest.mark.parametrize("name", [flag.name for flag in FLAGS])
def test_every_flag_is_in_the_readme(name):
    assert f"`--{name}`" in README


@pytest.mark.parametrize("name", PROMQL_FEATURES)
def test_every_feature_is_in_the_readme(name):
    assert f"`{name}`" in README


@pytest.mark.parametrize("words", COMMAND_WORDS)
def test_every_command_is_in_the_readme(words):
    assert re.search(rf"`gnomon {words}\b", README)


def test_every_command_there_is_is_known_here():
    assert {*COMMANDS, "version"} == {words.split()[0] for words in COMMAND_WORDS}


def test_every_file_that_the_architecture_names_is_there():
    named = re.findall(
        r"`((?:gnomon|api|scraper|promql|discovery|tsdb)/[\w/]+\.\w+)`", ARCHITECTURE
    )
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
PLACES = [f"/{path.relative_to(ROOT)}" for path in SOURCES]


def unknown_files(text):
    """Python files that a text names, by their path or its end, and that are not there."""
    named = re.findall(r"`([\w/.-]+\.py)`", text)
    return [name for name in named if not any(place.endswith(f"/{name}") for place in PLACES)]


def test_every_file_that_the_architecture_names_by_its_name_alone_is_there():
    assert len(re.findall(r"`\w+\.py`", ARCHITECTURE)) > 50
    assert unknown_files(ARCHITECTURE) == []


def test_every_file_that_a_docstring_names_as_source_or_destination_is_there():
    unknown = {
        path.relative_to(ROOT).as_posix(): missing
        for path in SOURCES
        if (missing := unknown_files(ast.get_docstring(ast.parse(path.read_text())) or ""))
    }
    assert unknown == {}


def test_the_example_of_the_library_does_what_it_says(tmp_path, monkeypatch, capsys):
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    stored, row = capsys.readouterr().out.splitlines()
    assert stored == "[<AppendStatus.STORED: 0>]"
    assert re.fullmatch(r"\{'room': 'attic'\} \d+\.\d+ 21\.5", row)


def test_the_changelog_begins_with_what_is_unreleased():
    assert (ROOT / "CHANGELOG.md").read_text().splitlines()[2] == "## Unreleased"
