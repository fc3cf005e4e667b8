-- +goose Up

CREATE TABLE invites (
    id         TEXT PRIMARY KEY,
    token_hash BLOB NOT NULL UNIQUE,
    uses       INTEGER NOT NULL,
    used       INTEGER NOT NULL,
    created    INTEGER NOT NULL, -- all times: Unix milliseconds, 0 for none
    expires    INTEGER NOT NULL,
    revoked    INTEGER NOT NULL
);

CREATE TABLE accounts (
    name             TEXT PRIMARY KEY,
    identity         BLOB NOT NULL,
    chain            BLOB NOT NULL, -- certificates, each behind its length
    created          INTEGER NOT NULL,
    suspended        INTEGER NOT NULL,
    manifest_version INTEGER NOT NULL,
    manifest_hash    BLOB NOT NULL,
    manifest         BLOB NOT NULL,
    token_hash       BLOB NOT NULL, -- of the invite, with first_hash: tells a repeated registration
    first_hash       BLOB NOT NULL
);

CREATE TABLE manifests (
    account TEXT NOT NULL,
    version INTEGER NOT NULL,
    hash    BLOB NOT NULL,
    signed  BLOB NOT NULL,
    PRIMARY KEY (account, version)
);

CREATE TABLE devices (
    id        BLOB PRIMARY KEY,
    account   TEXT NOT NULL,
    signing   BLOB NOT NULL,
    name      TEXT NOT NULL,
    added     INTEGER NOT NULL,
    revoked   INTEGER NOT NULL,
    last_seen INTEGER NOT NULL
);
CREATE INDEX devices_account ON devices (account);

CREATE TABLE revocations (
    row     INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    device  BLOB NOT NULL
);

-- kind: 1 signed, 2 last resort, 3 one-time exchange, 4 one-time KEM.
-- A used one-time key stays with an empty public half until it expires, so
-- that a repeated upload cannot bring it back.
CREATE TABLE prekeys (
    row     INTEGER PRIMARY KEY,
    device  BLOB NOT NULL,
    kind    INTEGER NOT NULL,
    id      INTEGER NOT NULL,
    used    INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    public  BLOB NOT NULL
);
CREATE UNIQUE INDEX prekeys_id ON prekeys (device, kind, id);
CREATE INDEX prekeys_stock ON prekeys (device, kind, used, row);

CREATE TABLE contacts (
    owner    TEXT NOT NULL,
    peer     TEXT NOT NULL,
    relation TEXT NOT NULL,
    PRIMARY KEY (owner, peer)
) WITHOUT ROWID;
CREATE INDEX contacts_peer ON contacts (peer);

CREATE TABLE requests (
    sender     TEXT NOT NULL,
    recipient  TEXT NOT NULL,
    message_id BLOB NOT NULL,
    PRIMARY KEY (sender, recipient)
) WITHOUT ROWID;
CREATE INDEX requests_recipient ON requests (recipient);

-- The devices that took the envelope of a request.
CREATE TABLE request_devices (
    device     BLOB NOT NULL,
    sender     TEXT NOT NULL,
    message_id BLOB NOT NULL,
    PRIMARY KEY (device, sender)
) WITHOUT ROWID;
CREATE INDEX request_devices_sender ON request_devices (sender);

CREATE TABLE fences (
    device    BLOB PRIMARY KEY,
    confirmed BLOB NOT NULL,
    issued    BLOB NOT NULL,
    steps     INTEGER NOT NULL
) WITHOUT ROWID;

-- AUTOINCREMENT: a row number never comes again, so a late acknowledgement
-- can never name another envelope.
CREATE TABLE mails (
    row              INTEGER PRIMARY KEY AUTOINCREMENT,
    device           BLOB NOT NULL,
    class            INTEGER NOT NULL,
    message_id       BLOB NOT NULL,
    sender           TEXT NOT NULL,
    sender_device    BLOB NOT NULL,
    accepted         INTEGER NOT NULL,
    expires          INTEGER NOT NULL,
    notice_reason    INTEGER NOT NULL,
    notice_recipient TEXT NOT NULL,
    notice_device    BLOB NOT NULL,
    size             INTEGER NOT NULL, -- of ciphertext
    ciphertext       BLOB NOT NULL
);
CREATE INDEX mails_device ON mails (device);
CREATE INDEX mails_expires ON mails (expires);
CREATE INDEX mails_notice ON mails (row, device) WHERE class = 4;

-- Sizes of the mailboxes, changed in the transactions that change mails.
CREATE TABLE mailboxes (
    device    BLOB PRIMARY KEY,
    envelopes INTEGER NOT NULL,
    bytes     INTEGER NOT NULL
) WITHOUT ROWID;

-- Written by Ping.
CREATE TABLE pings (
    id INTEGER PRIMARY KEY,
    n  INTEGER NOT NULL
);
