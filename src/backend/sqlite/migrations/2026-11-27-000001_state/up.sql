-- What the hosts of sensors keep beside rows. Few rows, read by their key. Times are nanoseconds since the Unix epoch, UTC.

-- One JSON value for each key.
CREATE TABLE state (
    "key"   TEXT NOT NULL PRIMARY KEY,
    value   TEXT NOT NULL,
    version INTEGER NOT NULL, -- grows with every change
    updated INTEGER NOT NULL
) WITHOUT ROWID;

-- Sensors, and the hosts that they run on.
CREATE TABLE deployments (
    name       TEXT NOT NULL PRIMARY KEY,
    kind       TEXT NOT NULL, -- sensor, host
    host       TEXT,          -- of a sensor: the name of its host
    services   TEXT NOT NULL, -- JSON array of names
    config     TEXT NOT NULL, -- JSON
    address    TEXT,
    hash       TEXT,
    state      TEXT NOT NULL, -- pending, running, degraded, failed, torn_down
    last_error TEXT,
    last_seen  INTEGER,
    created    INTEGER NOT NULL,
    updated    INTEGER NOT NULL
);
CREATE INDEX deployments_state ON deployments (state);
CREATE INDEX deployments_host ON deployments (host);

-- From which state to which they went, and why.
CREATE TABLE deployment_history (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    deployment TEXT NOT NULL,
    at         INTEGER NOT NULL,
    from_state TEXT,          -- NULL: it was new
    to_state   TEXT NOT NULL,
    reason     TEXT
);
CREATE INDEX deployment_history_deployment ON deployment_history (deployment, id);

CREATE TABLE users (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    name              TEXT NOT NULL UNIQUE, -- lower case
    role              TEXT NOT NULL,        -- admin, viewer
    password_hash     TEXT NOT NULL,        -- argon2id, as a PHC string
    must_change       INTEGER NOT NULL,
    disabled          INTEGER NOT NULL,
    tokens_valid_from INTEGER NOT NULL,
    created           INTEGER NOT NULL,
    updated           INTEGER NOT NULL
);

-- Tokens that are refused although they have not expired yet.
CREATE TABLE revoked_tokens (
    token   TEXT NOT NULL PRIMARY KEY,
    user_id INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    expires INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX revoked_tokens_expires ON revoked_tokens (expires);

PRAGMA user_version = 4;
