#!/usr/bin/env bash
# How much memory does `forebay ingest` take for a capture of 1 GB? `bash benches/memory.sh [BYTES A PACKET]`
# Prints the most that the process had (VmHWM), its rows and its rate. Needs some 2.5 GB of disk for a while.
set -euo pipefail
cd "$(dirname "$0")/.."

bytes=${1:-1000}
dir=$(mktemp -d -p "${CARGO_TARGET_DIR:-target}")
trap 'rm -rf "$dir"' EXIT
little_endian() { printf "\\x$(printf %02x $(($1 & 255)))\\x$(printf %02x $(($1 >> 8 & 255)))\\x$(printf %02x $(($1 >> 16 & 255)))\\x00"; }

# One packet, doubled until there is 1 GB; Ethernet, no addresses.
{ little_endian 0; little_endian 0; little_endian "$bytes"; little_endian "$bytes"; head -c "$bytes" /dev/urandom; } > "$dir/records"
while [ "$(stat -c %s "$dir/records")" -lt 1000000000 ]; do
    cat "$dir/records" "$dir/records" > "$dir/more"
    mv "$dir/more" "$dir/records"
done
{ printf '\xd4\xc3\xb2\xa1\x02\x00\x04\x00'; head -c 8 /dev/zero; little_endian 262144; little_endian 1; cat "$dir/records"; } > "$dir/big.pcap"
rm "$dir/records"

cargo build --release --quiet
target/release/forebay ingest --json --db "sqlite:$dir/big.db" "$dir/big.pcap" > "$dir/summary" &
pid=$!
peak=0
while now=$(sed -n 's/^VmHWM:[[:space:]]*\([0-9]*\).*/\1/p' "/proc/$pid/status" 2>/dev/null) && [ -n "$now" ]; do
    peak=$now
    sleep 0.05
done
wait "$pid"
echo "$(grep -o '"rows":[0-9]*,"rows_per_second":[0-9]*' "$dir/summary"), peak $((peak / 1024)) MiB," \
    "$(stat -c %s "$dir/big.pcap") bytes of capture"
