-- Times are nanoseconds since the Unix epoch, UTC. Addresses are canonical text (RFC 5952), NULL when unknown.

CREATE TABLE events (
    id         INTEGER PRIMARY KEY,
    ts         INTEGER NOT NULL,
    sensor     TEXT NOT NULL,
    service    TEXT NOT NULL,
    event_type TEXT NOT NULL,
    src_ip     TEXT,
    src_port   INTEGER,
    dst_ip     TEXT,
    dst_port   INTEGER,
    proto      TEXT,
    session    TEXT,
    msg        TEXT,
    fields     TEXT,
    raw        TEXT,
    trace_id   TEXT,
    span_id    TEXT
);
CREATE INDEX events_ts ON events (ts);
CREATE INDEX events_src_ip_ts ON events (src_ip, ts);
CREATE INDEX events_sensor_ts ON events (sensor, ts);

CREATE TABLE captures (
    id        INTEGER PRIMARY KEY,
    ts        INTEGER NOT NULL,
    sensor    TEXT NOT NULL,
    kind      TEXT NOT NULL,
    session   TEXT,
    src_ip    TEXT,
    src_port  INTEGER,
    dst_ip    TEXT,
    dst_port  INTEGER,
    proto     TEXT,
    link_type INTEGER,
    length    INTEGER NOT NULL,
    fields    TEXT,
    data      BLOB NOT NULL
);
CREATE INDEX captures_ts ON captures (ts);
CREATE INDEX captures_session ON captures (session) WHERE session IS NOT NULL;

-- Which positions of which source are committed: written in the transaction of their rows.
CREATE TABLE ingest_ledger (
    source   TEXT NOT NULL,
    first    INTEGER NOT NULL,
    last     INTEGER NOT NULL,
    rows     INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (source, first)
) WITHOUT ROWID;

-- Rows that could not be stored, each complete, with the reason.
CREATE TABLE ingest_rejects (
    id         INTEGER PRIMARY KEY,
    at         INTEGER NOT NULL,
    table_name TEXT NOT NULL,
    source     TEXT NOT NULL,
    position   INTEGER NOT NULL,
    reason     TEXT NOT NULL,
    detail     TEXT NOT NULL,
    row        TEXT NOT NULL
);

-- The same rows with times that people read; the remainder is taken so that it is right before 1970 too.
CREATE VIEW events_view AS
SELECT strftime('%Y-%m-%dT%H:%M:%S', (ts - ((ts % 1000000000 + 1000000000) % 1000000000)) / 1000000000, 'unixepoch')
    || printf('.%09dZ', (ts % 1000000000 + 1000000000) % 1000000000) AS time, events.*
FROM events;

CREATE VIEW captures_view AS
SELECT strftime('%Y-%m-%dT%H:%M:%S', (ts - ((ts % 1000000000 + 1000000000) % 1000000000)) / 1000000000, 'unixepoch')
    || printf('.%09dZ', (ts % 1000000000 + 1000000000) % 1000000000) AS time, captures.*
FROM captures;

PRAGMA application_id = 1179796057;
PRAGMA user_version = 1;
