-- Times are nanoseconds since the Unix epoch, UTC. Addresses are canonical text (RFC 5952), NULL when unknown.
-- Each statement may be run again: MySQL commits every CREATE by itself, so a bootstrap may end half-way.
-- Text is compared exactly (utf8mb4_bin). JSON is kept as LONGTEXT: the type JSON would change what was sent.

CREATE TABLE IF NOT EXISTS events (
    id         BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    ts         BIGINT NOT NULL,
    sensor     VARCHAR(255) NOT NULL,
    service    VARCHAR(255) NOT NULL,
    event_type VARCHAR(255) NOT NULL,
    src_ip     VARCHAR(45) CHARACTER SET ascii COLLATE ascii_bin,
    src_port   INT,
    dst_ip     VARCHAR(45) CHARACTER SET ascii COLLATE ascii_bin,
    dst_port   INT,
    proto      VARCHAR(255),
    session    VARCHAR(255),
    msg        LONGTEXT,
    fields     LONGTEXT,
    raw        LONGTEXT,
    trace_id   VARCHAR(255),
    span_id    VARCHAR(255),
    INDEX events_ts (ts),
    INDEX events_src_ip_ts (src_ip, ts),
    INDEX events_sensor_ts (sensor, ts)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS captures (
    id        BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    ts        BIGINT NOT NULL,
    sensor    VARCHAR(255) NOT NULL,
    kind      VARCHAR(255) NOT NULL,
    session   VARCHAR(255),
    src_ip    VARCHAR(45) CHARACTER SET ascii COLLATE ascii_bin,
    src_port  INT,
    dst_ip    VARCHAR(45) CHARACTER SET ascii COLLATE ascii_bin,
    dst_port  INT,
    proto     VARCHAR(255),
    link_type INT,
    length    BIGINT NOT NULL,
    fields    LONGTEXT,
    data      LONGBLOB NOT NULL,
    INDEX captures_ts (ts),
    INDEX captures_session (session)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Which positions of which source are committed: written in the transaction of their rows. The name is bytes: a text
-- column would take `a` and `a ` for the same source, and so for a batch that is there already.
CREATE TABLE IF NOT EXISTS ingest_ledger (
    source VARBINARY(255) NOT NULL,
    first  BIGINT NOT NULL,
    last   BIGINT NOT NULL,
    `rows` BIGINT NOT NULL,
    at     BIGINT NOT NULL,
    PRIMARY KEY (source, first)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Rows that could not be stored, each complete, with the reason.
CREATE TABLE IF NOT EXISTS ingest_rejects (
    id         BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    at         BIGINT NOT NULL,
    table_name VARCHAR(64) NOT NULL,
    source     VARCHAR(255) NOT NULL,
    position   BIGINT NOT NULL,
    reason     VARCHAR(255) NOT NULL,
    detail     LONGTEXT NOT NULL,
    `row`      LONGTEXT NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- The same rows with times that people read; DIV cuts towards zero, so a time before 1970 needs one second less.
CREATE OR REPLACE VIEW events_view AS
SELECT CONCAT(DATE_FORMAT(TIMESTAMPADD(SECOND, ts DIV 1000000000 - (MOD(ts, 1000000000) < 0), '1970-01-01 00:00:00'),
    '%Y-%m-%dT%H:%i:%S.'), LPAD(MOD(MOD(ts, 1000000000) + 1000000000, 1000000000), 9, '0'), 'Z') AS time, events.*
FROM events;

CREATE OR REPLACE VIEW captures_view AS
SELECT CONCAT(DATE_FORMAT(TIMESTAMPADD(SECOND, ts DIV 1000000000 - (MOD(ts, 1000000000) < 0), '1970-01-01 00:00:00'),
    '%Y-%m-%dT%H:%i:%S.'), LPAD(MOD(MOD(ts, 1000000000) + 1000000000, 1000000000), 9, '0'), 'Z') AS time, captures.*
FROM captures;
