"""What the scripts run on: an in-memory database and the engine, set up as upstream's are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from promql.engine import Engine, EngineOptions
from promql.parse import FEATURES
from tsdb.database import Database

if TYPE_CHECKING:
    from gnomon.promqltest.runner import Evaluator, Store
    from tsdb.interface import SeriesReader

OPTIONS = EngineOptions(
    samples_max=10_000,
    lookback_ms=300_000,
    default_subquery_step_ms=60_000,
    features=FEATURES,
    delayed_name_removal=True,
    # Scripts are small: helper threads would cost more than they bring.
    threads=1,
)


def make_evaluator(reader: SeriesReader) -> Evaluator:
    """Return the engine over a store."""
    return Engine(reader, OPTIONS)


def make_store() -> Store:
    """Return an empty in-memory database."""
    return Database.in_memory()
