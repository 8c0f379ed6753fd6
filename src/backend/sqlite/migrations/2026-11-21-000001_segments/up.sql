-- From one table for each kind of row to segments: the old table becomes the first one, as it is, with its indexes.
-- An old table without rows is dropped by the program, as every segment without rows is.

DROP VIEW events_view;
DROP VIEW captures_view;
ALTER TABLE events RENAME TO events_1;
ALTER TABLE captures RENAME TO captures_1;

CREATE TABLE events_open (
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

CREATE TABLE captures_open (
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

-- The catalogue. A segment's rows are in the table <kind>_<number>, the open one's in <kind>_open.
CREATE TABLE segments (
    kind      TEXT NOT NULL,    -- events, captures
    number    INTEGER NOT NULL,
    state     TEXT NOT NULL,    -- open, closed, merging (being filled from others), dropping
    indexes   INTEGER NOT NULL, -- how many of its kind's indexes are built
    first_id  INTEGER NOT NULL, -- no row has a smaller id
    last_id   INTEGER,          -- no row has a greater id; NULL while open
    rows      INTEGER NOT NULL, -- 0 while open
    bytes     INTEGER NOT NULL, -- about; 0 while open
    first_ts  INTEGER,          -- no row is earlier; NULL while open
    last_ts   INTEGER,          -- no row is later; NULL while open
    opened_at INTEGER NOT NULL, -- no row was committed earlier
    closed_at INTEGER,          -- no row was committed later; NULL while open
    target    INTEGER,          -- the segment into which this one is being merged
    PRIMARY KEY (kind, number)
) WITHOUT ROWID;

-- The bytes of the old tables are estimated from their newest rows: to read them all could take minutes.
INSERT INTO segments
SELECT 'events', 1, 'closed', 3, coalesce(min(id), 1), coalesce(max(id), 0), count(*), 0, min(ts), max(ts),
       0, CAST(unixepoch('subsec') * 1000 AS INTEGER) * 1000000, NULL FROM events_1;
UPDATE segments SET bytes = CAST(rows * (SELECT coalesce(avg(weight), 0) FROM (
    SELECT 200 + coalesce(length(msg), 0) + coalesce(length(fields), 0) + coalesce(length(raw), 0) AS weight
    FROM events_1 ORDER BY id DESC LIMIT 1000)) AS INTEGER) WHERE kind = 'events';
INSERT INTO segments
SELECT 'captures', 1, 'closed', 2, coalesce(min(id), 1), coalesce(max(id), 0), count(*), 0, min(ts), max(ts),
       0, CAST(unixepoch('subsec') * 1000 AS INTEGER) * 1000000, NULL FROM captures_1;
UPDATE segments SET bytes = CAST(rows * (SELECT coalesce(avg(weight), 0) FROM (
    SELECT 150 + coalesce(length(fields), 0) + length(data) AS weight
    FROM captures_1 ORDER BY id DESC LIMIT 1000)) AS INTEGER) WHERE kind = 'captures';
INSERT INTO segments
SELECT kind, 2, 'open', 0, last_id + 1, NULL, 0, 0, NULL, NULL, closed_at, NULL, NULL FROM segments;

-- Column by column: the old tables may have more, which somebody added.
CREATE VIEW events AS SELECT id,ts,sensor,service,event_type,src_ip,src_port,dst_ip,dst_port,proto,session,msg,fields,raw,trace_id,span_id FROM events_1
UNION ALL SELECT id,ts,sensor,service,event_type,src_ip,src_port,dst_ip,dst_port,proto,session,msg,fields,raw,trace_id,span_id FROM events_open;
CREATE VIEW captures AS SELECT id,ts,sensor,kind,session,src_ip,src_port,dst_ip,dst_port,proto,link_type,length,fields,data FROM captures_1
UNION ALL SELECT id,ts,sensor,kind,session,src_ip,src_port,dst_ip,dst_port,proto,link_type,length,fields,data FROM captures_open;

CREATE VIEW events_view AS
SELECT strftime('%Y-%m-%dT%H:%M:%S', (ts - ((ts % 1000000000 + 1000000000) % 1000000000)) / 1000000000, 'unixepoch')
    || printf('.%09dZ', (ts % 1000000000 + 1000000000) % 1000000000) AS time, events.*
FROM events;

CREATE VIEW captures_view AS
SELECT strftime('%Y-%m-%dT%H:%M:%S', (ts - ((ts % 1000000000 + 1000000000) % 1000000000)) / 1000000000, 'unixepoch')
    || printf('.%09dZ', (ts % 1000000000 + 1000000000) % 1000000000) AS time, captures.*
FROM captures;

PRAGMA user_version = 2;
