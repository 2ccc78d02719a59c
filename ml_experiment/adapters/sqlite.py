"""How long MLflow's embedded database waits for the disk: SQLAlchemy, below MLflow, tells of its connections."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import event
from sqlalchemy.engine import Engine


@event.listens_for(Engine, "connect")
def _wait_less(connection: object, _: object) -> None:
    """A record is eight transactions, and nobody has to wait for the disk after each.

    With a write-ahead log a power failure may then lose the last ones, as it may lose the last lines
    of records and ledger. A process that is killed loses none, and the database stays whole.
    """
    if not isinstance(connection, sqlite3.Connection):
        return
    if connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):
        connection.execute("PRAGMA synchronous=NORMAL")


@contextmanager
def waits_for_nothing() -> Iterator[None]:
    """For a database that nobody has yet: whoever makes it syncs it once, when it is whole."""
    event.listen(Engine, "connect", _wait_never)
    try:
        yield
    finally:
        event.remove(Engine, "connect", _wait_never)


def _wait_never(connection: object, _: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=OFF")
