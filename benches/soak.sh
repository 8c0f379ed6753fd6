#!/usr/bin/env bash
# A file that grows to 20 million rows, beside a loop in C: `bash benches/soak.sh [rows] [directory]`.
#
# Writes `soak.json` and `soak.svg` into the current directory, and prints what the README states. Needs about 9 GB of
# disk twice over in the directory (default: the current one) and, on 2 cores, some ten minutes in which the machine
# does nothing else. Fails if a row is missing, or one too many.
set -euo pipefail
rows=${1:-20000000}
directory=$(realpath "${2:-.}")
root=$(realpath "$(dirname "$0")/..")
here=$PWD

cd "$root"
FOREBAY_COMMIT=$(git rev-parse --short HEAD) cargo build --release --quiet
cd "$directory"
"$root/target/release/forebay" bench --rows "$rows" --producers 1 --baseline sqlite-c --rounds 1 --verify \
    --plot "$here/soak.svg" --json > "$here/soak.json"
python3 - "$here/soak.json" <<'END'
import json, sys
report = json.load(open(sys.argv[1]))
print(report["machine"]["processor"], "x", report["machine"]["cores"])
for run in report["runs"]:
    points = run["points"]
    def speed(first, last):
        """Rows a second while the rows from the first to the last million went in."""
        inside = [p for p in points if first * 1e6 < p["rows"] <= last * 1e6]
        before = max([p for p in points if p["rows"] <= first * 1e6], key=lambda p: p["rows"], default={"rows": 0, "seconds": 0})
        return (inside[-1]["rows"] - before["rows"]) / (inside[-1]["seconds"] - before["seconds"]) if inside else 0
    last = run["rows"] / 1e6
    marks = [m for m in [(0, 1), (4, 5), (9, 10), (14, 15), (last - 1, last)] if m[1] <= last]
    print(run["label"], f"{run['rows_per_second']:,.0f} rows/s; ratio", run["ratio"])
    print("  million:", ", ".join(f"{b:.0f}th {speed(a, b):,.0f}" for a, b in marks))
    c = run["commit"]
    print(f"  commit ms: p50 {c['p50_ms']:.0f}, p99 {c['p99_ms']:.0f}, max {c['max_ms']:.0f};",
          f"file {run['bytes_per_row']:.0f} bytes a row; log at most {run['wal_peak_bytes'] >> 20} MiB;",
          f"{run['cpu_seconds'] / run['rows'] * 1e6:.2f} us of processor a row;",
          f"memory {run['peak_memory_bytes'] >> 20} MiB; rows counted {run['counted_rows']:,}")
END
