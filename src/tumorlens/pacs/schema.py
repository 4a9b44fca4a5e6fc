"""The tables of the queue, on SQLite or PostgreSQL."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import (
    Column,
    Engine,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    create_engine,
    event,
)
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from tumorlens.errors import ConfigError, MissingExtraError

metadata = MetaData()

jobs = Table(
    "jobs",
    metadata,
    Column("id", Integer, primary_key=True),
    # SHA-256 of the Series Instance UID, and of the model file.
    Column("series", String(64), nullable=False),
    Column("model", String(64), nullable=False),
    Column("series_uid", String(64), nullable=False),
    Column("study_uid", String(64), nullable=False),
    Column("origin", String(16), nullable=False),  # watch or listen
    Column("place", String(128), nullable=False),  # what the archive calls the series
    Column("state", String(16), nullable=False, index=True),  # waiting, done, dead
    Column("outcome", String(32), nullable=False, default=""),
    Column("reason", String(500), nullable=False, default=""),
    Column("attempts", Integer, nullable=False, default=0),
    Column("due", Float, nullable=False),  # seconds since the epoch, as all times here
    Column("owner", String(64)),
    Column("lease", Float, nullable=False, default=0.0),
    Column("images", Integer, nullable=False, default=0),
    Column("late", Integer, nullable=False, default=0),
    Column("created", Float, nullable=False),
    Column("finished", Float),
    UniqueConstraint("series", "model"),
)
# Objects of a received series, by SHA-256 of their SOP Instance UID.
objects = Table(
    "objects",
    metadata,
    Column("series", String(64), primary_key=True),
    Column("object", String(64), primary_key=True),
)
# Series that hold results of ours, which are never analysed.
own_series = Table("own_series", metadata, Column("series", String(64), primary_key=True))
cursors = Table(
    "cursors",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", String(200), nullable=False),
)


def open_engine(url: str) -> Engine:
    """Return an engine for the queue's URL; nothing is connected yet.

    SQLite writes ahead (WAL) and flushes each transaction to disk, so that what was committed
    outlives the process and the machine.

    Raises:
        ConfigError: no URL of a data base.
        MissingExtraError: the driver is not installed.
    """
    try:
        engine = create_engine(url, pool_pre_ping=True, hide_parameters=True)
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise ConfigError(
            "TUMORLENS_PACS_QUEUE: not the URL of a data base, such as "
            "postgresql+psycopg://user@host/name"
        ) from error
    except ImportError as error:
        raise MissingExtraError("a queue in PostgreSQL", "postgresql") from error
    if engine.dialect.name == "sqlite":
        if engine.url.database:
            Path(engine.url.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: object, _: object) -> None:
    # SQLAlchemy begins transactions itself, so that they can lock before they read.
    connection.isolation_level = None  # type: ignore[attr-defined]
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA busy_timeout = 30000")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _begin_sqlite(connection: object) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")  # type: ignore[attr-defined]
