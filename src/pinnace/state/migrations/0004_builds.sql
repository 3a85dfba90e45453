-- Steps of builds by the digest of all they depend on. What a step led to is an image: when that
-- goes, the step has to be done again.
CREATE TABLE build_steps (
    key          TEXT PRIMARY KEY,
    image        TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    description  TEXT NOT NULL,
    created_ns   INTEGER NOT NULL,
    used_ns      INTEGER NOT NULL,
    uses         INTEGER NOT NULL
) STRICT;
CREATE INDEX build_steps_by_image ON build_steps (image);

-- Directories of cache mounts, below builds/caches of the data root.
CREATE TABLE build_caches (
    id          TEXT NOT NULL,
    number      INTEGER NOT NULL,
    created_ns  INTEGER NOT NULL,
    used_ns     INTEGER NOT NULL,
    uses        INTEGER NOT NULL,
    PRIMARY KEY (id, number)
) STRICT;

-- Containers of running builds: what a crash leaves here is removed at the next start.
CREATE TABLE build_containers (
    id  TEXT PRIMARY KEY
) STRICT;
