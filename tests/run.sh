#!/usr/bin/env bash
# Runs every test: `bash tests/run.sh`. Needs Rust, a C compiler, python3 and sqlite3; installs them on Debian and Ubuntu
# as far as it can.
# Everything else that a test talks to, it starts itself and stops again.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
command -v cc >/dev/null || missing+=(gcc libc6-dev)
command -v python3 >/dev/null || missing+=(python3)
command -v sqlite3 >/dev/null || missing+=(sqlite3)
# Private servers only: what the package may start by itself is neither used nor stopped.
PATH="$PATH:/usr/sbin" command -v mariadbd >/dev/null || missing+=(mariadb-server)
[ -e /usr/lib/galera/libgalera_smm.so ] || missing+=(galera-4)
command -v rsync >/dev/null || missing+=(rsync)
PATH="$PATH:/usr/sbin" command -v ip >/dev/null || missing+=(iproute2)
command -v tcpdump >/dev/null || missing+=(tcpdump)
command -v openssl >/dev/null || missing+=(openssl)
# The status page is looked at in a real browser.
command -v chromedriver >/dev/null || missing+=(chromium chromium-driver)
# Dashboards and alerts are tried with a real Prometheus, and with the types that npm has of Grafana's schema.
{ command -v prometheus && command -v promtool; } >/dev/null || missing+=(prometheus)
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
# Spans go through a real collector, which PyPI has.
python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
# DECNET's queries are asked as DECNET asks them.
{ /usr/bin/python3 -c 'import sqlalchemy, pymysql' || python3 -c 'import sqlalchemy, pymysql'; } 2>/dev/null ||
    missing+=(python3-sqlalchemy python3-pymysql)
if ((${#missing[@]})); then
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
    else
        echo "tests/run.sh: please install: ${missing[*]}" >&2
        exit 2
    fi
fi
if ! command -v cargo >/dev/null; then
    echo "tests/run.sh: please install Rust 1.89 or later, with cargo: https://rustup.rs" >&2
    exit 2
fi

echo "== each set of features builds, with its tests"
for features in "" sqlite mysql source server; do
    cargo test --quiet --no-default-features --features "$features" --lib
    cargo test --quiet --no-default-features --features "$features" --no-run
done

echo "== all tests, with all features"
cargo test --all-features
