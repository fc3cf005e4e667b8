-- +goose Up

-- Files of messages, in both directions. message is the id of the message; a
-- file that is a message of its own has the same id. transfer is the upload that
-- a file of mine waits for, or was made by; expires_ms is when the server drops it (0: not known).
CREATE TABLE files (
    account    INTEGER NOT NULL,
    id         BLOB NOT NULL,
    message    BLOB NOT NULL,
    peer       INTEGER NOT NULL REFERENCES peers (id),
    direction  INTEGER NOT NULL,
    place      INTEGER NOT NULL, -- among the files of the message, from 0
    state      TEXT NOT NULL,
    transfer   INTEGER NOT NULL,
    arrival    INTEGER NOT NULL,
    changed_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    body       BLOB NOT NULL, -- sealed
    PRIMARY KEY (account, id)
) WITHOUT ROWID;
CREATE INDEX files_by_message ON files (account, message, place);
CREATE INDEX files_by_transfer ON files (account, transfer, arrival) WHERE transfer > 0;
CREATE INDEX files_by_arrival ON files (account, arrival);
CREATE INDEX files_fetching ON files (account, arrival) WHERE state = 'fetching';
CREATE INDEX files_offered ON files (account, arrival) WHERE state = 'offered';
CREATE INDEX files_expiry ON files (account, expires_ms) WHERE expires_ms > 0 AND state IN ('offered', 'fetching', 'sent');

-- Uploads and downloads that run. kind: 1 upload, 2 download, 3 a blob of the
-- server that is to be deleted. file is what a download fetches.
CREATE TABLE transfers (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    account    INTEGER NOT NULL,
    kind       INTEGER NOT NULL,
    file       BLOB NOT NULL,
    created_ms INTEGER NOT NULL,
    body       BLOB NOT NULL -- sealed
);
CREATE INDEX transfers_by_account ON transfers (account, kind, id);

-- Parts of an upload that are sealed into the spool, or stored at the server.
-- state: 1 spooled, 2 stored. body: what goes on behind this part.
CREATE TABLE transfer_parts (
    transfer INTEGER NOT NULL REFERENCES transfers (id) ON DELETE CASCADE,
    number   INTEGER NOT NULL,
    state    INTEGER NOT NULL,
    size     INTEGER NOT NULL,
    etag     TEXT NOT NULL,
    body     BLOB NOT NULL, -- sealed
    PRIMARY KEY (transfer, number)
) WITHOUT ROWID;

-- +goose Down
-- The schema only goes forward; a downgrade is refused before it touches the file.
SELECT 1;
