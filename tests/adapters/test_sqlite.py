"""How long MLflow's embedded database waits for the disk, and that it is one database to everybody."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from ml_experiment.adapters import sqlite
from ml_experiment.adapters.mlflow import Tracker

NEVER, NORMAL, ALWAYS = 0, 1, 2


def synchronous(file: Path) -> int:
    """What a connection of SQLAlchemy's waits for."""
    engine = create_engine(f"sqlite:///{file}")
    try:
        with engine.connect() as connection:
            return int(connection.execute(text("PRAGMA synchronous")).scalar_one())
    finally:
        engine.dispose()


@pytest.mark.parametrize(("mode", "waits"), [("wal", NORMAL), ("delete", ALWAYS)])
def test_only_a_database_with_a_log_is_waited_for_less(
    tmp_path: Path, mode: str, waits: int
) -> None:
    with closing(sqlite3.connect(tmp_path / "some.db")) as database:
        database.execute(f"PRAGMA journal_mode={mode}")
    assert synchronous(tmp_path / "some.db") == waits


def test_a_database_that_is_being_made_is_not_waited_for(tmp_path: Path) -> None:
    with sqlite.waits_for_nothing():
        assert synchronous(tmp_path / "some.db") == NEVER
    assert synchronous(tmp_path / "some.db") == ALWAYS


def test_the_log_of_a_new_store_is_beside_it(tmp_path: Path) -> None:
    """Where it was elsewhere, other processes would have a log of their own, and break it."""
    tracker = Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)
    tracker.experiment("digits")
    found = {file.name for file in tmp_path.iterdir()}
    assert {"mlflow.db", "mlflow.db-shm", "mlflow.db-wal"} <= found
