DROP VIEW captures_view;
DROP VIEW events_view;
DROP TABLE ingest_rejects;
DROP TABLE ingest_ledger;
DROP TABLE captures;
DROP TABLE events;
PRAGMA user_version = 0;
