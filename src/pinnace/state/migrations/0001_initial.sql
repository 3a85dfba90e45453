-- Containers and volumes are stored whole, as the JSON of their record in pinnace.model; the
-- columns beside it are what uniqueness and lookups need.
CREATE TABLE containers (
    id      TEXT PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE,
    record  BLOB NOT NULL,
    intent  TEXT  -- what was being done when this row was last written; NULL when at rest
) STRICT;

CREATE TABLE volumes (
    name    TEXT PRIMARY KEY,
    record  BLOB NOT NULL
) STRICT;

-- Recent events, for `since`; trimmed to the newest 1000 at boot.
CREATE TABLE events (
    time_ns INTEGER NOT NULL,
    record  BLOB NOT NULL
) STRICT;
CREATE INDEX events_by_time ON events (time_ns);
