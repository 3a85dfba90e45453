-- Layers in the form registries keep them. One layer may have several blobs: compressed by
-- different programs, or not at all. `seen` counts upwards: the highest is the latest.
CREATE TABLE layer_blobs (
    digest      TEXT PRIMARY KEY,
    diff_id     TEXT NOT NULL,
    size        INTEGER NOT NULL,
    media_type  TEXT NOT NULL,
    seen        INTEGER NOT NULL
) STRICT;
CREATE INDEX layer_blobs_by_layer ON layer_blobs (diff_id);

-- Repositories known to hold a blob, by full name: registry.example/team/app.
CREATE TABLE layer_blob_sources (
    digest      TEXT NOT NULL REFERENCES layer_blobs (digest) ON DELETE CASCADE,
    repository  TEXT NOT NULL,
    seen        INTEGER NOT NULL,
    PRIMARY KEY (digest, repository)
) STRICT;
