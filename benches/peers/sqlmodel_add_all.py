"""How Python's usual way compares: SQLModel `session.add_all` of 100 rows and a commit, over aiosqlite.

This is what honeypot frameworks in Python do (DECNET among them). Same table and indexes (our own first migration is run
on the file), same distribution of rows as `benches/sample/mod.rs`, same journal mode and synchronous setting. Rows (the
model objects) are built within the measured time, as they must be, and so are ours. Rounds alternate with our pipeline.

    python3 -m venv target/peers && target/peers/bin/pip install -q sqlmodel aiosqlite greenlet
    target/peers/bin/python benches/peers/sqlmodel_add_all.py [ROWS] [ROUNDS]
"""

import asyncio
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version

import sqlite3
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlmodel import Field, SQLModel

from rows import lines

ROOT = pathlib.Path(__file__).resolve().parents[2]
# The first one makes one ordinary table with the indexes, as anybody would.
MIGRATION = min((ROOT / "src/backend/sqlite/migrations").glob("*/up.sql"))
OURS = "1 send_many built"


class Event(SQLModel, table=True):
    __tablename__ = "events"
    id: int | None = Field(default=None, primary_key=True)
    ts: int
    sensor: str
    service: str
    event_type: str
    src_ip: str | None = None
    src_port: int | None = None
    dst_ip: str | None = None
    dst_port: int | None = None
    proto: str | None = None
    session: str | None = None
    msg: str | None = None
    fields: str | None = None
    raw: str | None = None
    trace_id: str | None = None
    span_id: str | None = None


async def add_all(path, rows):
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}")

    @event.listens_for(engine.sync_engine, "connect")
    def pragmas(connection, _):
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    async with AsyncSession(engine, expire_on_commit=False) as session:
        began = time.perf_counter()
        for start in range(0, len(rows), 100):
            session.add_all([Event(**row) for row in rows[start:start + 100]])
            await session.commit()
            session.expunge_all()
        took = time.perf_counter() - began
    await engine.dispose()
    return len(rows) / took


def theirs(rows, directory):
    with tempfile.TemporaryDirectory(dir=directory) as place:
        path = f"{place}/peer.db"
        connection = sqlite3.connect(path)
        connection.executescript(MIGRATION.read_text())
        connection.close()
        rate = asyncio.run(add_all(path, rows))
        count = sqlite3.connect(path).execute("SELECT count(*) FROM events").fetchone()[0]
        assert count == len(rows)
        return rate


def ours(rows):
    command = ["cargo", "bench", "-q", "--bench", "sqlite", "--", "--indexes", "schema", "--batches", "8192",
               "--rows", str(rows), "--rounds", "1", "--only", OURS]
    out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return float(re.search(rf"^{OURS} +(\d+)", out, re.M).group(1))


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    rows = list(lines(count))
    directory = ROOT / "target/tmp"
    directory.mkdir(parents=True, exist_ok=True)
    ours(1000)  # builds it
    pairs = [(theirs(rows, directory), ours(10 * count)) for _ in range(rounds)]
    peer, own = (statistics.median(column) for column in zip(*pairs))
    versions = ", ".join(f"{name} {version(name)}" for name in ("sqlmodel", "sqlalchemy", "aiosqlite"))
    print(f"Python {sys.version.split()[0]}, {versions}, SQLite {sqlite3.sqlite_version}; the schema's indexes")
    print(f"add_all(100), commit      {peer:>9.0f} rows/s  ({count} rows, median of {rounds})")
    print(f"forebay, {OURS:<16} {own:>9.0f} rows/s  ({10 * count} rows, median of {rounds})")
    print(f"ratio                     {own / peer:>9.1f}")


if __name__ == "__main__":
    main()
