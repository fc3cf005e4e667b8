-- +goose Up

CREATE TABLE blobs (
    id        BLOB PRIMARY KEY, -- 16 random bytes
    owner     TEXT NOT NULL,    -- '' once the account is gone
    upload    TEXT NOT NULL,    -- the backend's name of the upload
    state     INTEGER NOT NULL, -- 1 open, 2 complete, 3 dead: only its bytes are left
    declared  INTEGER NOT NULL, -- 0: not known
    reserved  INTEGER NOT NULL, -- counts towards the quota, dead or not
    size      INTEGER NOT NULL, -- once complete
    created   INTEGER NOT NULL,
    expires   INTEGER NOT NULL,
    life      INTEGER NOT NULL, -- milliseconds from the completion on
    downloads INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX blobs_owner ON blobs (owner, state, reserved);
CREATE INDEX blobs_expires ON blobs (expires);
CREATE INDEX blobs_dead ON blobs (id) WHERE state = 3;

CREATE TABLE blob_readers (
    blob    BLOB NOT NULL,
    account TEXT NOT NULL,
    PRIMARY KEY (blob, account)
) WITHOUT ROWID;
CREATE INDEX blob_readers_account ON blob_readers (account);

CREATE TABLE blob_parts (
    blob   BLOB NOT NULL,
    number INTEGER NOT NULL,
    size   INTEGER NOT NULL,
    PRIMARY KEY (blob, number)
) WITHOUT ROWID;

-- Quotas that differ from the configuration's.
CREATE TABLE blob_quotas (
    account TEXT PRIMARY KEY,
    bytes   INTEGER NOT NULL
) WITHOUT ROWID;
