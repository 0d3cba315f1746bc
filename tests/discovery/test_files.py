import asyncio
import json
import os

import pytest

from discovery.files import FileDiscovery, read_groups
from discovery.group_format import GroupFormatError, parse_json, parse_yaml
from discovery.groups import TargetGroup


def addresses(groups):
    return [[target["__address__"] for target in group.targets] for group in groups]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("valid.json", [["localhost:9090", "example.org:443"], ["my.domain"]]),
        ("valid.yml", [["localhost:9090", "example.org:443"], ["my.domain"]]),
        ("valid2.yml", [["my.domain"], ["localhost:9090"], ["example.org:443"]]),
        ("valid3.yml", [["localhost:9090", "example.org:443"], ["my.domain"]]),
    ],
)
def test_corpus(name, expected, corpora):
    path = str(corpora / "config/file_sd" / name)
    groups = read_groups(path)
    assert addresses(groups) == expected
    assert all(group.labels["__meta_filepath"] == path for group in groups)
    assert len({group.source for group in groups}) == len(groups)


@pytest.mark.parametrize("name", ["invalid_nil.json", "invalid_nil.yml"])
def test_a_null_group_refuses_the_file(name, corpora):
    with pytest.raises(GroupFormatError, match="nil or malformed"):
        read_groups(str(corpora / "config/file_sd" / name))


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_json, "{"),
        (parse_json, "{}"),
        (parse_json, '[{"targets": ["a"], "other": 1}]'),
        (parse_json, '[{"targets": "a"}]'),
        (parse_json, '[{"targets": [1]}]'),
        (parse_json, '[{"targets": [], "labels": {"a": 1}}]'),
        (parse_json, '[{"targets": [], "labels": ["a"]}]'),
        (parse_json, "[" * 100_000),
        (parse_yaml, "- targets: [a]\n  other: 1"),
        (parse_yaml, "- targets: [a]\n  targets: [b]"),
        (parse_yaml, "- targets: [a"),
        (parse_yaml, "targets: [a]"),
        (parse_yaml, "- !!python/object/apply:os.system [x]"),
        (parse_yaml, "- targets: [{a: b}]"),
    ],
)
def test_what_is_no_list_of_groups_is_refused(parse, text):
    with pytest.raises(GroupFormatError):
        parse(text)


def test_yaml_scalars_are_taken_as_they_are_written():
    (group,) = parse_yaml("- targets: [a:1]\n  labels: {v: 1.10, n: yes, d: 2001-01-01, z: null}")
    assert group.labels == {"v": "1.10", "n": "yes", "d": "2001-01-01", "z": ""}


@pytest.mark.parametrize("text", ["", "[]", "# nothing"])
def test_nothing_is_no_groups(text):
    assert parse_yaml(text) == []


class Watched:
    """The changes of a discovery over files, with a timeout."""

    def __init__(self, *patterns, **options):
        options = {"poll_s": 0.01} | options
        self.discovery = FileDiscovery(tuple(str(p) for p in patterns), **options)
        self.changes = self.discovery.changes()

    async def next(self):
        return await asyncio.wait_for(anext(self.changes), 5)

    async def silent(self):
        """Nothing comes for a while; ends the watch."""
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(self.changes), 0.1)
        return True


def write(path, *targets):
    path.write_text(json.dumps([{"targets": [target]} for target in targets]))


def test_changes_are_seen_and_groups_that_went_are_emptied(tmp_path):
    path = tmp_path / "a.json"
    write(path, "x:1", "y:1")

    async def body():
        watched = Watched(tmp_path / "*.json")
        first = await watched.next()
        assert addresses(first) == [["x:1"], ["y:1"]]
        write(path, "z:1")
        assert await watched.next() == [
            TargetGroup(f"{path}:0", ({"__address__": "z:1"},), {"__meta_filepath": str(path)}),
            TargetGroup(f"{path}:1"),
        ]
        write(tmp_path / "b.json", "b:1")
        assert addresses(await watched.next()) == [["b:1"]]
        path.unlink()
        assert await watched.next() == [TargetGroup(f"{path}:0")]
        assert list(watched.discovery.stats().mtimes_s) == [str(tmp_path / "b.json")]
        await watched.silent()

    asyncio.run(body())


def test_a_broken_file_keeps_what_it_gave_and_is_counted_once(tmp_path, caplog):
    path = tmp_path / "a.json"
    write(path, "x:1")

    async def body():
        watched = Watched(path)
        assert addresses(await watched.next()) == [["x:1"]]
        path.write_text("[")
        await watched.silent()
        assert watched.discovery.stats().read_errors == 1

        watched = Watched(path)
        assert await watched.next() == []
        write(path, "y:1")
        assert addresses(await watched.next()) == [["y:1"]]
        await watched.changes.aclose()

    asyncio.run(body())
    assert "Error reading file" in caplog.text


def test_a_swapped_link_is_seen(tmp_path):
    """As Kubernetes replaces the files of a mounted ConfigMap."""
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        write(tmp_path / version / "t.json", f"{version}:1")
    data = tmp_path / "data"
    data.symlink_to("v1")

    async def body():
        watched = Watched(data / "*.json")
        assert addresses(await watched.next()) == [["v1:1"]]
        (tmp_path / "new").symlink_to("v2")
        (tmp_path / "new").rename(data)
        assert addresses(await watched.next()) == [["v2:1"]]
        await watched.changes.aclose()

    asyncio.run(body())


def test_everything_is_said_again_each_refresh_interval(tmp_path):
    path = tmp_path / "a.yml"
    path.write_text("- targets: [x]")
    stamp = path.stat().st_mtime_ns

    async def body():
        watched = Watched(path, refresh_interval_s=0.05)
        first = await watched.next()
        os.utime(path, ns=(stamp, stamp))
        assert await watched.next() == first
        await watched.changes.aclose()

    asyncio.run(body())


def test_equal_configurations_are_equal_discoverers():
    assert FileDiscovery(("a",)) == FileDiscovery(("a",), poll_s=5)
    assert FileDiscovery(("a",)) != FileDiscovery(("b",))
