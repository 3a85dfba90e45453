-- An image's id is the digest of `config`, whose exact bytes are kept; `manifest` is what it was
-- pulled by. The record is pinnace.model.image.ImageRecord as JSON.
CREATE TABLE images (
    id        TEXT PRIMARY KEY,
    record    BLOB NOT NULL,
    config    BLOB NOT NULL,
    manifest  BLOB
) STRICT;

-- Normalised references: docker.io/library/busybox:latest, or …@sha256:… when digested is 1.
CREATE TABLE image_references (
    reference  TEXT PRIMARY KEY,
    digested   INTEGER NOT NULL CHECK (digested IN (0, 1)),
    image      TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE
) STRICT;
CREATE INDEX image_references_by_image ON image_references (image);
