"""How others write the same rows into MariaDB: SQLAlchemy over asyncmy, and rsyslog's ommysql, beside `forebay bench`.

A private server with the settings of `benches/mariadb/mod.rs`, and our own tables with their indexes. Rounds take
turns, and the medians count; after each run the rows are counted, and the table emptied.

* SQLAlchemy: `session.add_all` of 100 objects and a commit, one task; the objects are built within the measured time.
* rsyslog: one connection sends lines of JSON to imtcp, mmjsonparse takes them apart, ommysql inserts, with 1 and 4
  workers and batches of 1000; measured from the first line to the last row in the table.

    apt-get install mariadb-server rsyslog rsyslog-mysql
    python3 -m venv target/peers && target/peers/bin/pip install -q sqlalchemy asyncmy greenlet
    cargo build --release && target/peers/bin/python benches/peers/mysql.py [ROWS] [ROUNDS]
"""

import asyncio
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version

from sqlalchemy import BigInteger, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rows import lines

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOREBAY = ROOT / "target/release/forebay"
SETTINGS = ["--innodb-log-file-size=2G", "--innodb-buffer-pool-size=2G", "--innodb-flush-log-at-trx-commit=1",
            "--innodb-autoinc-lock-mode=2", "--skip-name-resolve"]
COLUMNS = ["ts", "sensor", "service", "event_type", "src_ip", "src_port", "dst_ip", "dst_port", "proto", "session",
           "msg", "fields", "raw"]


class Base(DeclarativeBase):
    pass


class Event(Base):
    __tablename__ = "events"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    ts: Mapped[int]
    sensor: Mapped[str]
    service: Mapped[str]
    event_type: Mapped[str]
    src_ip: Mapped[str | None]
    src_port: Mapped[int | None]
    dst_ip: Mapped[str | None]
    dst_port: Mapped[int | None]
    proto: Mapped[str | None]
    session: Mapped[str | None]
    msg: Mapped[str | None]
    fields: Mapped[str | None]
    raw: Mapped[str | None]
    trace_id: Mapped[str | None]
    span_id: Mapped[str | None]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A private MariaDB on a free port of 127.0.0.1."""

    def __init__(self, place):
        self.port, self.socket = free_port(), f"{place}/m.sock"
        data, path = f"--datadir={place}/data", {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        user = []
        if os.geteuid() == 0:
            shutil.chown(place, "mysql")
            os.chmod(place, 0o755)
            user = ["--user=mysql"]
        subprocess.run(["mariadb-install-db", "--no-defaults", *user, data, "--auth-root-authentication-method=normal"],
                       check=True, env=path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        command = ["mariadbd", "--no-defaults", *user, data, "--bind-address=127.0.0.1", f"--port={self.port}",
                   f"--socket={self.socket}", *SETTINGS]
        self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *command], env=path,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while not os.path.exists(self.socket):
            assert time.monotonic() < until, "the server did not start"
            time.sleep(0.1)
        self.run("CREATE DATABASE sensors; CREATE USER writer@'127.0.0.1' IDENTIFIED BY 'bench';"
                 "GRANT ALL ON sensors.* TO writer@'127.0.0.1'")
        subprocess.run([FOREBAY, "db", "init", "--db", self.url()], check=True, stdout=subprocess.DEVNULL)

    def url(self):
        return f"mysql://writer:bench@127.0.0.1:{self.port}/sensors"

    def run(self, sql):
        command = ["mariadb", "--no-defaults", f"--socket={self.socket}", "--user=root", "--batch", "-N"]
        return subprocess.run(command, input=sql, check=True, capture_output=True, text=True).stdout.strip()

    def count(self):
        return int(self.run("SELECT count(*) FROM sensors.events"))

    def empty(self):
        self.run("TRUNCATE sensors.events; TRUNCATE sensors.ingest_ledger")


async def add_all(server, rows):
    engine = create_async_engine(f"mysql+asyncmy://writer:bench@127.0.0.1:{server.port}/sensors?charset=utf8mb4")
    async with AsyncSession(engine, expire_on_commit=False) as session:
        await session.execute(text("SELECT 1"))
        await session.commit()
        began = time.perf_counter()
        for start in range(0, len(rows), 100):
            session.add_all([Event(**row) for row in rows[start:start + 100]])
            await session.commit()
            session.expunge_all()
        took = time.perf_counter() - began
    await engine.dispose()
    return took


RSYSLOG = """
module(load="imtcp" MaxSessions="4")
module(load="mmjsonparse")
module(load="ommysql")
global(workDirectory="{place}" maxMessageSize="16k")
main_queue(queue.type="LinkedList" queue.size="2000000" queue.dequeueBatchSize="1000")
template(name="insert" type="list" option.sql="on") {{
    constant(value="INSERT INTO events ({columns}) VALUES (")
{values}
    constant(value=")")
}}
ruleset(name="in") {{
    action(type="mmjsonparse" cookie="")
    action(type="ommysql" server="127.0.0.1" serverport="{port}" db="sensors" uid="writer" pwd="bench" template="insert"
           queue.type="LinkedList" queue.size="2000000" queue.dequeueBatchSize="1000" queue.workerThreads="{workers}"
           queue.workerThreadMinimumMessages="1000" action.resumeRetryCount="-1")
}}
input(type="imtcp" port="{listen}" address="127.0.0.1" ruleset="in" supportOctetCountedFraming="off")
"""


def rsyslog(server, rows, place, workers):
    listen = free_port()
    quote = '    constant(value="\'") property(name="$!{0}") constant(value="\'")'
    values = '\n    constant(value=",")\n'.join(quote.format(column) for column in COLUMNS)
    config = pathlib.Path(place) / "rsyslog.conf"
    config.write_text(RSYSLOG.format(place=place, columns=",".join(COLUMNS), values=values, port=server.port,
                                     workers=workers, listen=listen))
    payload = b"".join(b"<134>Jan  1 00:00:00 h a: " + json.dumps(row).encode() + b"\n" for row in rows)
    daemon = subprocess.Popen(["rsyslogd", "-n", "-f", str(config), "-i", f"{place}/rsyslog.pid"],
                              env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 10
        while True:
            try:
                sender = socket.create_connection(("127.0.0.1", listen))
                break
            except ConnectionRefusedError:
                assert time.monotonic() < until, "rsyslogd does not listen"
                time.sleep(0.05)
        began = time.perf_counter()
        with sender:
            sender.sendall(payload)
        stored, changed = 0, time.perf_counter()
        while stored < len(rows):
            time.sleep(0.02)
            now = server.count()
            if now != stored:
                stored, changed = now, time.perf_counter()
            elif time.perf_counter() - changed > 30:
                sys.exit(f"rsyslog: {stored} of {len(rows)} rows, and no more for 30 s")
        return time.perf_counter() - began
    finally:
        daemon.terminate()
        daemon.wait()


def forebay(server, count):
    command = [FOREBAY, "bench", server.url(), "--rows", str(count), "--producers", "1", "--json"]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return report["runs"][0]["seconds"]


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    rows = list(lines(count))
    directory = ROOT / "target/tmp"
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory, ignore_cleanup_errors=True) as place:
        server = Server(place)
        own = 10 * count  # it would be over too soon
        peers = {
            "SQLAlchemy add_all(100)": (count, lambda: asyncio.run(add_all(server, rows))),
            "rsyslog, 1 worker": (count, lambda: rsyslog(server, rows, place, 1)),
            "rsyslog, 4 workers": (count, lambda: rsyslog(server, rows, place, 4)),
            "forebay bench": (own, lambda: forebay(server, own)),
        }
        rates = {name: [] for name in peers}
        for _ in range(rounds):
            for name, (number, run) in peers.items():
                server.empty()
                rates[name].append(number / run())
                assert server.count() == number, name
        told = subprocess.run(["rsyslogd", "-v"], capture_output=True, text=True).stdout.split()[1]
        versions = ", ".join(f"{name} {version(name)}" for name in ("sqlalchemy", "asyncmy"))
        print(f"MariaDB {server.run('SELECT version()')}, {' '.join(SETTINGS)}")
        print(f"Python {sys.version.split()[0]}, {versions}, rsyslog {told}; {count} rows, median of {rounds} rounds")
        ours = statistics.median(rates["forebay bench"])
        for name, measured in rates.items():
            rate = statistics.median(measured)
            print(f"{name:<26} {rate:>9.0f} rows/s, forebay {ours / rate:.1f} times that")
        server.process.kill()
        server.process.wait()


if __name__ == "__main__":
    main()
