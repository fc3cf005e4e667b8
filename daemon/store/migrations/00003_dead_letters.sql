-- +goose Up
-- What a consumer's handler failed on; dead: it was given up and the cursor passed it.
CREATE TABLE failures (
    consumer TEXT NOT NULL REFERENCES consumers (name) ON DELETE CASCADE,
    seq      INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    last_ms  INTEGER NOT NULL,
    dead     INTEGER NOT NULL,
    PRIMARY KEY (consumer, seq)
) WITHOUT ROWID;

-- Events that retention ended before the consumer had them.
ALTER TABLE consumers ADD COLUMN missed INTEGER NOT NULL DEFAULT 0;
