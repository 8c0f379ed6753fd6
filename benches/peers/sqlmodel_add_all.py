"""How Python's usual way compares: SQLModel `session.add_all` of 100 rows and a commit, over aiosqlite.

This is what honeypot frameworks in Python do (DECNET among them). Same table and indexes (our own migration is run on
the file), same distribution of rows as `benches/sample/mod.rs`, same journal mode and synchronous setting. Rows (the
model objects) are built within the measured time, as they must be, and so are ours. Rounds alternate with our pipeline.

    python3 -m venv target/peers && target/peers/bin/pip install -q sqlmodel aiosqlite greenlet
    target/peers/bin/python benches/peers/sqlmodel_add_all.py [ROWS] [ROUNDS]
"""

import asyncio
import bisect
import itertools
import json
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

ROOT = pathlib.Path(__file__).resolve().parents[2]
MIGRATIONS = sorted((ROOT / "src/backend/sqlite/migrations").glob("*/up.sql"))
OURS = "1 send_many built"
SERVICES = [("ssh", "login.failed", 22), ("ssh", "command", 22), ("http", "request", 80),
            ("telnet", "login.failed", 23), ("smb", "connect", 445), ("redis", "command", 6379)]
USERS = ["root", "admin", "ubuntu", "test", "oracle", "postgres", "pi", "git"]


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


class Random:
    """SplitMix64, as in `benches/sample/mod.rs`."""

    MASK = (1 << 64) - 1

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & self.MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & self.MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & self.MASK
        return z ^ (z >> 31)

    def below(self, bound):
        return self.next() % bound


def lines(count):
    cumulated = list(itertools.accumulate(rank ** -1.1 for rank in range(1, 20_001)))
    random = Random(7)
    for number in range(count):
        rank = bisect.bisect_left(cumulated, (random.next() >> 11) / (1 << 53) * cumulated[-1])
        address = (rank * 2654435761 & 0xFFFFFFFF) | 0x01000000
        src = ".".join(str(address >> shift & 255) for shift in (24, 16, 8, 0))
        sensor_number = random.below(12)
        service, event_type, dst_port = SERVICES[random.below(6)]
        user = USERS[random.below(8)]
        src_port = 1024 + random.below(60_000)
        session = f"{random.next() >> 16:012x}"
        secret = f"{random.next() >> (16 + random.below(32)):x}"
        sensor, dst = f"sensor-{sensor_number:02}", f"10.20.0.{sensor_number + 1}"
        ts = 1_760_000_000_000_000_000 + number * 1_000_000 + random.below(20_000_000)
        fields = json.dumps({"username": user, "password": secret, "client": "SSH-2.0-libssh_0.9.6",
                             "attempt": random.below(30)}, separators=(",", ":"))
        raw = (f"<134>1 {ts} {sensor} {service} {session} {event_type} - user={user} secret={secret} "
               f"src={src}:{src_port} dst={dst}:{dst_port} client=SSH-2.0-libssh_0.9.6 outcome=refused")
        yield dict(ts=ts, sensor=sensor, service=service, event_type=event_type, src_ip=src, src_port=src_port,
                   dst_ip=dst, dst_port=dst_port, proto="tcp", session=session,
                   msg=f"{event_type} for {user} from {src} on {service}", fields=fields, raw=raw)


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
        for migration in MIGRATIONS:
            connection.executescript(migration.read_text())
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
