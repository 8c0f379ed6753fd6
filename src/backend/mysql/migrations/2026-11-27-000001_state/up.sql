-- What the hosts of sensors keep beside rows. Few rows, read by their key. Times are nanoseconds since the Unix epoch, UTC.
-- Names are bytes: a text column would take `a` and `a ` for the same. JSON is kept as LONGTEXT, as it was sent.

-- One JSON value for each key.
CREATE TABLE IF NOT EXISTS state (
    `key`   VARBINARY(255) NOT NULL PRIMARY KEY,
    value   LONGTEXT NOT NULL,
    version BIGINT NOT NULL,
    updated BIGINT NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Sensors, and the hosts that they run on.
CREATE TABLE IF NOT EXISTS deployments (
    name       VARBINARY(255) NOT NULL PRIMARY KEY,
    kind       VARCHAR(16) NOT NULL,
    host       VARBINARY(255),
    services   LONGTEXT NOT NULL,
    config     LONGTEXT NOT NULL,
    address    VARCHAR(45),
    hash       VARCHAR(255),
    state      VARCHAR(16) NOT NULL,
    last_error LONGTEXT,
    last_seen  BIGINT,
    created    BIGINT NOT NULL,
    updated    BIGINT NOT NULL,
    INDEX deployments_state (state),
    INDEX deployments_host (host)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- From which state to which they went, and why.
CREATE TABLE IF NOT EXISTS deployment_history (
    id         BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    deployment VARBINARY(255) NOT NULL,
    at         BIGINT NOT NULL,
    from_state VARCHAR(16),
    to_state   VARCHAR(16) NOT NULL,
    reason     LONGTEXT,
    INDEX deployment_history_deployment (deployment, id)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS users (
    id                BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name              VARBINARY(255) NOT NULL UNIQUE,
    role              VARCHAR(16) NOT NULL,
    password_hash     VARCHAR(255) NOT NULL,
    must_change       BIGINT NOT NULL,
    disabled          BIGINT NOT NULL,
    tokens_valid_from BIGINT NOT NULL,
    created           BIGINT NOT NULL,
    updated           BIGINT NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Tokens that are refused although they have not expired yet.
CREATE TABLE IF NOT EXISTS revoked_tokens (
    token   VARBINARY(255) NOT NULL PRIMARY KEY,
    user_id BIGINT NOT NULL,
    at      BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    INDEX revoked_tokens_expires (expires)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
