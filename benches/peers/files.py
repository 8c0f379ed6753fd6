"""How others bring files into SQLite: `sqlite-utils insert --nl` and pmacct's sqlite3 plugin, beside `forebay ingest`.

* A file of Suricata EVE lines, those of `tests/data/eve.json` over and over: the peer makes one table without indexes, a
  column for each key, 100 rows a transaction as is its way; forebay parses each line, keeps it too, and has three
  indexes on all but the last rows, those of the open segment.
* A capture of packets, each a flow of its own (pmacct adds up the packets of a flow): the peer writes addresses, ports,
  protocol and counters; forebay writes these and the packet, and has two indexes, with the same exception. The two
  seconds that pmacct sleeps before it reads are not counted. If not all packets are in its table in the end, that is
  said instead of a rate.

Else whole processes are measured; rounds take turns, the medians count, and the rows are counted after each run.

    apt-get install pmacct; python3 -m venv target/peers && target/peers/bin/pip install -q sqlite-utils
    cargo build --release && target/peers/bin/python benches/peers/files.py [ROWS] [ROUNDS]
"""

import json
import pathlib
import shutil
import sqlite3
import statistics
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOREBAY = ROOT / "target/release/forebay"
SQLITE_UTILS = pathlib.Path(sys.executable).with_name("sqlite-utils")
# pmacct waits so long before it begins to read a capture.
PMACCT_SLEEPS = 2
PATIENCE = 60
# So many for each line: else it would be over too soon.
PACKETS = 3


def eve(path, rows):
    lines = []
    for line in (ROOT / "tests/data/eve.json").read_text().splitlines():
        try:
            json.loads(line)["timestamp"]
        except (ValueError, KeyError, TypeError):
            continue
        lines.append(line)
    path.write_text("".join(f"{lines[row % len(lines)]}\n" for row in range(rows)))


def capture(path, packets):
    with path.open("wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for packet in range(packets):
            source = (10 << 24 | packet).to_bytes(4, "big")
            ip = struct.pack(">BBHHHBBH", 0x45, 0, 128, packet & 0xFFFF, 0, 64, 17, 0) + source + bytes([192, 0, 2, 1])
            udp = struct.pack(">HHHH", 1024 + packet % 60000, 53, 108, 0)
            frame = b"\2\0\0\0\0\1\2\0\0\0\0\2\x08\0" + ip + udp + bytes(100)
            at = (1_760_000_000 + packet // 10_000, packet % 10_000 * 100)
            out.write(struct.pack("<IIII", *at, len(frame), len(frame)) + frame)


def ask(database, sql):
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return connection.execute(sql).fetchone()[0] or 0
    finally:
        connection.close()


def timed(command):
    began = time.perf_counter()
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def forebay(place, path, table, rows):
    database = place / "forebay.db"
    took = timed([FOREBAY, "ingest", "--db", f"sqlite://{database}", path])
    assert ask(database, f"SELECT count(*) FROM {table}") == rows
    return rows / took


def sqlite_utils(place, path, rows):
    database = place / "peer.db"
    took = timed([SQLITE_UTILS, "insert", database, "events", path, "--nl", "--alter", "--silent"])
    assert ask(database, "SELECT count(*) FROM events") == rows
    return rows / took


# Its process for writing rows shares the open capture: one that starts while the capture is read ends the reading. So rows
# are written once, at the end, and the cache must hold all flows until then; a smaller one loses the rest.
PMACCT = """
daemonize: false
pcap_savefile: {path}
plugins: sqlite3
sql_db: {database}
sql_table: acct
sql_optimize_clauses: true
sql_dont_try_update: true
sql_refresh_time: 3600
sql_cache_entries: {entries}
aggregate: src_host, dst_host, src_port, dst_port, proto
plugin_pipe_size: 1073741824
plugin_buffer_size: 1024000
"""
ACCT = """CREATE TABLE acct (ip_src TEXT, ip_dst TEXT, src_port INT, dst_port INT, ip_proto TEXT, packets INT, bytes INT,
flows INT, stamp_inserted TEXT, stamp_updated TEXT)"""


def pmacct(place, path, packets):
    """Returns packets a second from the end of its sleep to the end of its writing; 0 if some are missing."""
    database, config = place / "peer.db", place / "pmacct.conf"
    with sqlite3.connect(database) as connection:
        connection.execute(ACCT)
    config.write_text(PMACCT.format(path=path, database=database, entries=2 * packets + 3))
    began = ended = time.perf_counter()
    daemon = subprocess.Popen(["timeout", str(PATIENCE), "pmacctd", "-f", config], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
    with daemon:
        for line in daemon.stdout:
            if "sleeping for" in line:
                began = time.perf_counter() + PMACCT_SLEEPS
            if "Purging cache - END" in line:
                ended = time.perf_counter()
    stored = ask(database, "SELECT sum(packets) FROM acct")
    return packets / (ended - began) if stored == packets else 0


def main():
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    (ROOT / "target/tmp").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "target/tmp") as place:
        lines, packets = pathlib.Path(place) / "eve.json", pathlib.Path(place) / "flows.pcap"
        eve(lines, rows)
        capture(packets, PACKETS * rows)
        contenders = {
            "sqlite-utils insert --nl": lambda run: sqlite_utils(run, lines, rows),
            "forebay ingest, EVE": lambda run: forebay(run, lines, "events", rows),
            "forebay ingest, packets": lambda run: forebay(run, packets, "captures", PACKETS * rows),
        }
        if shutil.which("pmacctd"):
            contenders["pmacct, sqlite3 plugin"] = lambda run: pmacct(run, packets, PACKETS * rows)
        rates = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, run in contenders.items():
                with tempfile.TemporaryDirectory(dir=place) as own:
                    rates[name].append(run(pathlib.Path(own)))
    told = subprocess.run([SQLITE_UTILS, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"Python {sys.version.split()[0]}, {told}; {rows} lines, {PACKETS * rows} packets, median of {rounds} rounds")
    peers = {"EVE": "sqlite-utils insert --nl", "packets": "pmacct, sqlite3 plugin"}
    for what, peer in peers.items():
        own, other = (statistics.median(rates.get(name, [0])) for name in (f"forebay ingest, {what}", peer))
        print(f"forebay ingest, {what:<9} {own:>9.0f} rows/s")
        if other > 0:
            print(f"{peer:<25} {other:>9.0f} rows/s, forebay {own / other:.1f} times that")
        else:
            print(f"{peer}: " + ("not all packets" if peer in rates else "not installed"))


if __name__ == "__main__":
    main()
