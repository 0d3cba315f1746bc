from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from gnomon.auto_reload import digest, watch
from gnomon.config.model import Config

PATIENCE_S = 30.0


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "gnomon.yml"
    path.write_text("global: {}\n")
    return path


@pytest.mark.parametrize(
    ("act", "changed"),
    [
        pytest.param(lambda path: path.write_text("global: {}\n"), False, id="the same text"),
        pytest.param(lambda path: path.write_text("{}\n"), True, id="another text"),
        pytest.param(lambda path: path.unlink(), True, id="no file any more"),
        pytest.param(
            lambda path: (path.parent / "jobs" / "two.yml").write_text(""), True, id="one file more"
        ),
        pytest.param(
            lambda path: (path.parent / "jobs" / "one.yml").write_text("x"), True, id="a part"
        ),
        pytest.param(
            lambda path: (path.parent / "jobs" / "two.txt").write_text(""), False, id="another file"
        ),
    ],
)
def test_a_change_is_one_of_content(config_file, act, changed):
    folder = config_file.parent / "jobs"
    folder.mkdir()
    (folder / "one.yml").write_text("scrape_configs: []\n")
    config = replace(Config(), scrape_config_files=(folder / "*.yml",))
    before = digest(config_file, config)
    act(config_file)
    assert (digest(config_file, config) != before) is changed


def test_each_change_is_tried_once_also_when_it_is_bad(config_file):
    tried = []

    async def reload():
        tried.append(config_file.read_text())
        if "bad" in tried[-1]:
            raise ValueError("bad")

    async def until_tried(count):
        deadline = time.monotonic() + PATIENCE_S
        while len(tried) < count:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)

    async def run():
        before = digest(config_file, Config())
        watching = asyncio.create_task(watch(config_file, Config, 0.02, reload, before))
        try:
            await asyncio.sleep(0.2)
            for number, text in enumerate(["one", "bad", "two"], start=1):
                config_file.with_suffix(".new").write_text(text)
                config_file.with_suffix(".new").rename(config_file)
                await until_tried(number)
                await asyncio.sleep(0.2)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    asyncio.run(run())
    assert tried == ["one", "bad", "two"]
