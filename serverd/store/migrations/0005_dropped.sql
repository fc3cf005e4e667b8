-- +goose Up

-- Devices that are gone and whose mail is still to be dropped: a full mailbox
-- would hold up the only writer for half a second.
CREATE TABLE dropped (
    device  BLOB PRIMARY KEY,
    account TEXT NOT NULL
) WITHOUT ROWID;
