"""What `pip install .` brings: all that the packages read, and a command that is there."""

import importlib
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = PROJECT["tool"]["mypy"]["packages"]
DATA = PROJECT["tool"]["setuptools"]["package-data"]
UNREAD = {".py", ".pyc", ".md", ".nbi", ".nbc"}
"""Endings of what is code, made by it, or for people."""


def data_files():
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and path.suffix not in UNREAD:
                yield path.relative_to(ROOT)


def test_there_is_data_in_packages():
    assert Path("promql/parsing/grammar.lark") in set(data_files())


def is_installed(path):
    """Whether the patterns of the package that a file is in, or in a folder of, name it."""
    package = next(folder for folder in path.parents if (ROOT / folder / "__init__.py").exists())
    patterns = DATA.get(".".join(package.parts), [])
    return any(path in package.glob(pattern) for pattern in patterns)


def test_every_file_that_packages_may_read_is_installed_with_them(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert [str(path) for path in data_files() if not is_installed(path)] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_the_packages_that_are_checked_are_those_that_are_installed(package):
    assert f"{package}*" in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]


def test_every_folder_of_code_is_a_package():
    folders = {path.parent for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_the_command_leads_to_a_function():
    module, name = PROJECT["project"]["scripts"]["gnomon"].split(":")
    assert callable(getattr(importlib.import_module(module), name))
