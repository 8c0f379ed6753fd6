"""What following a growing file costs: `python3 benches/tail.py [RATE] [SECONDS]`, 10,000 lines a second for 20 s if not told.

Builds the program, has `forebay run` follow one file into SQLite, and appends lines of `tests/data/eve.json` with the time
of day to it, a hundredth of a second's worth at a time. Prints

* the processor time of the program and of each of its threads, in percent of one core (`src-eve` is the source: it finds,
  reads and parses lines and sends rows; the rest is the way of any row into the file);
* the time from the write of a line to its commit: a reader asks for the newest row every 2 ms, so up to so much is the
  reader's, and nothing is subtracted. A file's rows get their ids in the order of its lines.

Fails if a row is missing, or one too many.
"""

import json
import os
import pathlib
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime, timezone

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOREBAY = ROOT / "target/release/forebay"
TICK = 0.01
LOOK = 0.002
PATIENCE = 60


def samples():
    """Lines before and after the place of their time."""
    for line in (ROOT / "tests/data/eve.json").read_text().splitlines():
        try:
            stamp = json.loads(line)["timestamp"]
        except (ValueError, KeyError, TypeError):
            continue
        before, found, after = line.partition(stamp)
        if found:
            yield before, after


def processor(pid):
    """Seconds of processor time by thread name, of threads that live."""
    used = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            head, _, tail = (task / "stat").read_text().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
        name, numbers = head.partition("(")[2], tail.split()
        used[name] = used.get(name, 0) + (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")
    numbers = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    used["the whole program"] = (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")
    return used


class Reader(threading.Thread):
    """Looks for the newest row, and notes when which id was first seen."""

    def __init__(self, database):
        super().__init__(daemon=True)
        self.database, self.seen, self.newest = database, [], 0
        self.is_over = threading.Event()

    def run(self):
        connection = None
        while not self.is_over.wait(LOOK):
            try:
                connection = connection or sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
                row = connection.execute("SELECT id FROM events ORDER BY id DESC LIMIT 1").fetchone()
            except sqlite3.OperationalError:
                continue  # it is not made yet
            if row and row[0] > self.newest:
                self.newest = row[0]
                self.seen.append((time.monotonic(), self.newest))

    def wait_for(self, line):
        until = time.monotonic() + PATIENCE
        while self.newest < line:
            if time.monotonic() > until:
                sys.exit(f"row {line} is not there after {PATIENCE} s; the newest is {self.newest}")
            time.sleep(0.05)


def main():
    rate = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    subprocess.run(["cargo", "build", "--release", "--quiet", "--bin", "forebay"], cwd=ROOT, check=True)
    lines, at_once = list(samples()), max(1, round(rate * TICK))
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as place:
        log, database = pathlib.Path(place) / "eve.json", pathlib.Path(place) / "tail.db"
        settings = pathlib.Path(place) / "forebay.toml"
        settings.write_text(f'[database]\nurl = "sqlite://{database}"\n[sources.eve]\ntype = "tail"\npaths = ["{log}"]\n')
        written = []  # when which line was the last
        with log.open("wb", buffering=0) as out:
            def write(count):
                now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f+0000")
                first = written[-1][1] if written else 0
                parts = (lines[line % len(lines)] for line in range(first, first + count))
                data = "".join(f"{before}{now}{after}\n" for before, after in parts).encode()
                written.append((time.monotonic(), first + count))
                out.write(data)

            program = subprocess.Popen([FOREBAY, "run", "--config", settings], stderr=subprocess.DEVNULL)
            reader = Reader(database)
            reader.start()
            try:
                write(1)
                reader.wait_for(1)
                before, began = processor(program.pid), time.monotonic()
                for tick in range(round(seconds / TICK)):
                    time.sleep(max(0, began + tick * TICK - time.monotonic()))
                    write(at_once)
                took = time.monotonic() - began
                after = processor(program.pid)
                reader.wait_for(written[-1][1])
            finally:
                program.terminate()
                program.wait(PATIENCE)
                reader.is_over.set()
                reader.join()
        stored = sqlite3.connect(database).execute("SELECT count(*), max(id) FROM events").fetchone()
        total = written[-1][1]
        assert stored == (total, total), f"{total} lines, {stored} rows and newest id"
        size = log.stat().st_size // total
    report(written[1:], reader.seen, took, size, {name: after[name] - before.get(name, 0) for name in after})


def report(written, seen, took, size, used):
    waits, looks = [], iter(seen)
    seen_at, newest = next(looks)
    first = 1
    for at, last in written:
        # Of the lines of one write, each counts when it was seen.
        while first < last:
            while newest <= first:
                seen_at, newest = next(looks)
            upto = min(last, newest)
            waits.extend([(seen_at - at) * 1e3] * (upto - first))
            first = upto
    waits.sort()
    place = lambda part: waits[int((len(waits) - 1) * part)]
    print(f"{len(waits)} lines of {size} bytes in {took:.1f} s: {len(waits) / took:,.0f} lines/s")
    for name, time_used in sorted(used.items(), key=lambda entry: -entry[1]):
        if time_used > 0:
            print(f"  {name:<20} {time_used / took * 100:5.1f} % of a core, {time_used * 1e6 / len(waits):6.2f} us a line")
    print(f"from write to commit: p50 {place(0.5):.0f} ms, p99 {place(0.99):.0f} ms, at most {waits[-1]:.0f} ms")


if __name__ == "__main__":
    main()
