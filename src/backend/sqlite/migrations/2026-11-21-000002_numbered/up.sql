-- From <kind>_open to a number for the open segments too; none has had the number 0. The views name the old tables until
-- the program makes them anew, in the same transaction.

ALTER TABLE events_open RENAME TO events_0;
ALTER TABLE captures_open RENAME TO captures_0;
UPDATE segments SET number = 0 WHERE state = 'open';

PRAGMA user_version = 3;
