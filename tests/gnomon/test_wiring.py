import contextlib
import shutil

import numpy as np
import pytest

from discovery.files import FileDiscovery
from discovery.kubernetes.watches import Watches
from discovery.static import StaticDiscovery
from gnomon import wiring
from gnomon.config.load import load_text
from gnomon.config.model import RETENTION_DEFAULT_MS, Config
from gnomon.deferred import DeferredStorage
from gnomon.flags import parse_flags
from gnomon.retention import retention
from tsdb.database import Database
from tsdb.early_reads import EarlyReads
from tsdb.errors import ClosedError, StorageError
from tsdb.interface import ALL_TIMES_MS, LabelSpans, Selection
from tsdb.replay import ReplayProgress
from tsdb.wal import Packing

DAY_MS = 86_400_000


def config(text, folder):
    return load_text(text, folder)


@pytest.mark.parametrize(
    ("flags", "text", "expected", "shown"),
    [
        pytest.param([], "", (RETENTION_DEFAULT_MS, None), "15d", id="fifteen days by default"),
        pytest.param(["--storage.tsdb.retention.time=1d"], "", (DAY_MS, None), "1d", id="a flag"),
        pytest.param(
            ["--storage.tsdb.retention.size=1MB"],
            "",
            (None, 2**20),
            "1MiB",
            id="a size alone is no time limit",
        ),
        pytest.param(
            ["--storage.tsdb.retention.time=1d"],
            "storage: {tsdb: {retention: {time: 2d, size: 1MB}}}",
            (2 * DAY_MS, 2**20),
            "2d or 1MiB",
            id="the file wins",
        ),
    ],
)
def test_retention(tmp_path, flags, text, expected, shown):
    kept = retention(parse_flags(flags), config(text, tmp_path))
    assert (kept.time_ms, kept.size_bytes) == expected
    assert kept.text() == shown


def test_a_percentage_of_the_disk_counts_instead_of_a_size(tmp_path):
    flags = ["--storage.tsdb.retention.size=1MB", f"--storage.tsdb.path={tmp_path / 'a' / 'b'}"]
    text = "storage: {tsdb: {retention: {percentage: 12.5}}}"
    kept = retention(parse_flags(flags), config(text, tmp_path))
    eighth = shutil.disk_usage(tmp_path).total / 8
    assert (kept.time_ms, kept.text()) == (None, "12.5%")
    assert kept.size_bytes == int(eighth)
    assert wiring.database_options(
        parse_flags(flags), config(text, tmp_path)
    ).retention_bytes == int(eighth)


@pytest.mark.parametrize(
    ("features", "written", "expected"),
    [
        pytest.param([], "", (False, False), id="not asked for"),
        pytest.param(["created-timestamp-zero-ingestion"], "", (True, True), id="as zeros"),
        pytest.param(["st-storage"], "", (True, True), id="stored"),
        pytest.param(
            ["st-storage"], ", scrape_protocols: [PrometheusText0.0.4]", (True, False),
            id="what a file says of protocols holds",
        ),
    ],
)  # fmt: skip
def test_start_timestamps(tmp_path, features, written, expected):
    options = parse_flags([f"--enable-feature={name}" for name in features])
    text = f"scrape_configs: [{{job_name: a, static_configs: [{{targets: ['h:1']}}]{written}}}]"
    ((job, _),) = wiring.jobs(options, config(text, tmp_path), Watches())
    assert (job.start_times, job.scrape_protocols[0] == "PrometheusProto") == expected
    made = wiring.database_options(options, config(text, tmp_path))
    assert made.start_zeros == ("created-timestamp-zero-ingestion" in features)
    assert made.start_times_stored == ("st-storage" in features)


def test_equal_sections_make_equal_discoverers(tmp_path):
    text = (
        "scrape_configs: [{job_name: a, static_configs: [{targets: ['h:1']}],"
        " file_sd_configs: [{files: ['t.yml']}], http_sd_configs: [{url: 'http://h/'}]}]"
    )
    options = parse_flags([])
    (_, first), (_, second) = (
        wiring.jobs(options, config(text, tmp_path), Watches())[0] for _ in range(2)
    )
    assert first == second
    assert [type(each) for each in first[:2]] == [StaticDiscovery, FileDiscovery]
    assert first[1].patterns == (str(tmp_path / "t.yml"),)


@pytest.mark.parametrize(
    ("flags", "prefix"),
    [
        ([], ""),
        (["--web.external-url=http://h/gnomon/"], "/gnomon"),
        (["--web.external-url=http://h/gnomon/", "--web.route-prefix=/"], ""),
        (["--web.route-prefix=p"], "/p"),
    ],
)
def test_the_prefix_of_routes(flags, prefix):
    assert wiring.api_options(parse_flags(flags), {}).route_prefix == prefix


def test_storage_that_is_not_open_says_so():
    storage = DeferredStorage()
    assert not storage.opened
    with pytest.raises(ClosedError, match="not open yet"):
        storage.label_names([], 0, 1)


def test_storage_that_opens_is_read_early_and_not_written():
    storage = DeferredStorage()
    ticket = storage.change_ticket()
    with contextlib.closing(Database.in_memory()) as database:
        refs = database.resolve(LabelSpans.from_labels([{"__name__": "up"}]))
        database.append(refs, np.array([5]), np.array([1.0]))
        storage.read_early(EarlyReads(database, ReplayProgress))
        assert not storage.opened
        (batch,) = storage.select([Selection((), 0, 10)])
        assert batch.values.tolist() == [1.0]
        assert batch.warnings == (
            "results may be incomplete: the log is being replayed, 0 of 1 segments",
        )
        assert storage.metadata() == []
        assert storage.oldest_change_ms(ticket) == ALL_TIMES_MS
        with pytest.raises(ClosedError, match="not open yet"):
            storage.append(refs, np.array([6]), np.array([1.0]))
        storage.open(database)
        (batch,) = storage.select([Selection((), 0, 10)])
        assert batch.warnings == ()


def test_flags_decide_about_the_log():
    def found(*words):
        options = wiring.database_options(parse_flags([*words]), Config())
        return options.wal_packing, options.wal_segment_bytes

    assert found() == (Packing.TEXT, 128 << 20)
    assert found("--storage.tsdb.wal-segment-size=10MB") == (Packing.TEXT, 10 << 20)
    assert found("--storage.tsdb.wal-compression-type=zstd") == (Packing.ALL, 128 << 20)
    assert found("--no-storage.tsdb.wal-compression")[0] is Packing.NONE
    assert found("--agent", "--no-storage.agent.wal-compression")[0] is Packing.NONE


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        pytest.param("", 100_000, id="by default"),
        pytest.param("storage: {exemplars: {max_exemplars: 7}}", 7, id="as the file says"),
        pytest.param("storage: {exemplars: {max_exemplars: -1}}", 0, id="none"),
    ],
)
def test_storage_keeps_as_many_exemplars_as_the_file_says(text, kept, tmp_path):
    options = wiring.database_options(parse_flags([]), config(text, tmp_path))
    assert options.exemplars_max == kept


def test_flags_decide_about_blocks_and_the_lock():
    flags = [
        "--storage.tsdb.min-block-duration=30m",
        "--storage.tsdb.max-block-duration=90m",
        "--storage.tsdb.no-lockfile",
    ]
    found = wiring.database_options(parse_flags(flags), Config())
    assert (found.min_block_ms, found.max_block_ms, found.no_lockfile) == (
        1_800_000, 5_400_000, True,
    )  # fmt: skip


def test_flags_decide_about_the_api():
    flags = [
        "--storage.remote.read-sample-limit=7",
        "--storage.remote.read-concurrent-limit=0",
        "--storage.remote.read-max-bytes-in-frame=1024",
        "--web.max-notifications-subscribers=2",
        "--web.page-title=Ours",
        "--enable-feature=search-api",
    ]
    found = wiring.api_options(parse_flags(flags), {})
    assert (found.read_samples_max, found.read_concurrency_max) == (7, 0)
    assert (found.read_frame_bytes_max, found.notification_subscribers_max) == (1024, 2)
    assert (found.page_title, found.search) == ("Ours", True)


@pytest.mark.parametrize("theirs", ["chunks_head", "01JD3Z8X5T2M6Q0N9B7R4C1V5K/chunks"])
def test_a_data_directory_of_prometheus_is_left_alone(tmp_path, theirs):
    data = tmp_path / "data"
    (data / theirs).mkdir(parents=True)
    before = sorted(data.rglob("*"))
    with pytest.raises(
        StorageError, match=r"is a data directory of Prometheus.*gnomon tsdb import"
    ):
        wiring.open_database(parse_flags([f"--storage.tsdb.path={data}"]), Config())
    assert sorted(data.rglob("*")) == before
