-- +goose Up

-- Values that are never reused once drawn: event, arrival, order.
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

-- Small values of an account (0: of the profile) that are no secret.
CREATE TABLE meta (
    account INTEGER NOT NULL,
    key     TEXT NOT NULL,
    value   BLOB NOT NULL,
    PRIMARY KEY (account, key)
) WITHOUT ROWID;

CREATE TABLE peers (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    account INTEGER NOT NULL,
    tag     BLOB NOT NULL,
    address BLOB NOT NULL, -- sealed
    UNIQUE (account, tag)
);

-- History. direction: 1 in, 2 out. arrival is the order of arrival here.
CREATE TABLE messages (
    account     INTEGER NOT NULL,
    id          BLOB NOT NULL,
    peer        INTEGER NOT NULL REFERENCES peers (id),
    direction   INTEGER NOT NULL,
    kind        INTEGER NOT NULL,
    device      BLOB NOT NULL,
    n           INTEGER NOT NULL,
    arrival     INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    sent_ms     INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    state       TEXT NOT NULL,
    reason      TEXT NOT NULL,
    changed_ms  INTEGER NOT NULL,
    request     INTEGER NOT NULL,
    unread      INTEGER NOT NULL,
    body        BLOB NOT NULL, -- sealed
    UNIQUE (account, id)
);
CREATE INDEX messages_by_arrival ON messages (account, peer, arrival);
CREATE INDEX messages_unread ON messages (account, arrival) WHERE unread = 1;

-- What waits to leave, in the order of ord. phase: 1 queued, 2 sealed, 3 accepted, 4 held.
CREATE TABLE outbox (
    account    INTEGER NOT NULL,
    id         BLOB NOT NULL,
    ord        INTEGER NOT NULL,
    peer       INTEGER NOT NULL REFERENCES peers (id),
    device     BLOB NOT NULL, -- empty: every device of the peer
    kind       INTEGER NOT NULL,
    control    INTEGER NOT NULL,
    phase      INTEGER NOT NULL,
    reason     TEXT NOT NULL,
    n          INTEGER NOT NULL,
    verified   INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    sent_ms    INTEGER NOT NULL,
    body       BLOB NOT NULL, -- sealed
    PRIMARY KEY (account, id)
) WITHOUT ROWID;
CREATE INDEX outbox_by_phase ON outbox (account, phase, ord);
CREATE INDEX outbox_by_peer ON outbox (account, peer, ord);

-- One ciphertext for one device. status: 1 pending, 2 accepted, 3 rejected.
CREATE TABLE envelopes (
    account    INTEGER NOT NULL,
    id         BLOB NOT NULL,
    device     BLOB NOT NULL,
    peer       INTEGER NOT NULL REFERENCES peers (id),
    ord        INTEGER NOT NULL,
    own        INTEGER NOT NULL,
    filler     INTEGER NOT NULL,
    status     INTEGER NOT NULL,
    reason     INTEGER NOT NULL,
    manifest   INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    ciphertext BLOB NOT NULL,
    PRIMARY KEY (account, id, device)
) WITHOUT ROWID;
CREATE INDEX envelopes_pending ON envelopes (account, ord) WHERE status = 1;

-- The journal. body is the sealed event; the other columns are what filters need.
CREATE TABLE events (
    seq        INTEGER PRIMARY KEY,
    account    INTEGER NOT NULL,
    id         TEXT NOT NULL,
    type       TEXT NOT NULL,
    peer       INTEGER NOT NULL,
    direction  INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    body       BLOB NOT NULL -- sealed
);
CREATE INDEX events_by_id ON events (id);
CREATE INDEX events_by_time ON events (created_ms);

CREATE TABLE consumers (
    name       TEXT PRIMARY KEY,
    cursor     INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    acked_ms   INTEGER NOT NULL
) WITHOUT ROWID;

-- What was committed here once and is only acknowledged when it comes again.
CREATE TABLE dedupe (
    account INTEGER NOT NULL,
    peer    INTEGER NOT NULL,
    id      BLOB NOT NULL,
    at_ms   INTEGER NOT NULL,
    PRIMARY KEY (account, peer, id)
) WITHOUT ROWID;
CREATE INDEX dedupe_by_time ON dedupe (account, at_ms);

CREATE TABLE idempotency (
    account INTEGER NOT NULL,
    tag     BLOB NOT NULL,
    digest  BLOB NOT NULL,
    ids     BLOB NOT NULL,
    at_ms   INTEGER NOT NULL,
    PRIMARY KEY (account, tag)
) WITHOUT ROWID;

-- Receipts that are owed. state: 1 delivered, 2 read.
CREATE TABLE receipts (
    account INTEGER NOT NULL,
    peer    INTEGER NOT NULL,
    id      BLOB NOT NULL,
    state   INTEGER NOT NULL,
    at_ms   INTEGER NOT NULL,
    PRIMARY KEY (account, peer, id, state)
) WITHOUT ROWID;

-- Incoming ciphertext that could not be opened yet. reason: 1 no session fits,
-- 2 the peer's key changed, 3 it crashed a decoder.
CREATE TABLE parked (
    ord         INTEGER PRIMARY KEY AUTOINCREMENT,
    account     INTEGER NOT NULL,
    peer        INTEGER NOT NULL,
    device      BLOB NOT NULL,
    id          BLOB NOT NULL,
    class       INTEGER NOT NULL,
    reason      INTEGER NOT NULL,
    at_ms       INTEGER NOT NULL,
    asked_ms    INTEGER NOT NULL,
    asks        INTEGER NOT NULL,
    accepted_ms INTEGER NOT NULL,
    ciphertext  BLOB NOT NULL,
    UNIQUE (account, peer, device, id)
);
CREATE INDEX parked_by_reason ON parked (account, reason, ord);

-- When a session with a device was last rebuilt: at most once an hour.
CREATE TABLE rebuilds (
    account INTEGER NOT NULL,
    peer    INTEGER NOT NULL,
    device  BLOB NOT NULL,
    at_ms   INTEGER NOT NULL,
    PRIMARY KEY (account, peer, device)
) WITHOUT ROWID;

-- The last n that was given to a message for peer.
CREATE TABLE sent_n (
    account INTEGER NOT NULL,
    peer    INTEGER NOT NULL,
    last    INTEGER NOT NULL,
    PRIMARY KEY (account, peer)
) WITHOUT ROWID;

-- The highest n seen of each sending device, and the ranges that are missing below it.
CREATE TABLE seen_n (
    account INTEGER NOT NULL,
    peer    INTEGER NOT NULL,
    device  BLOB NOT NULL,
    high    INTEGER NOT NULL,
    PRIMARY KEY (account, peer, device)
) WITHOUT ROWID;
CREATE TABLE gaps (
    account  INTEGER NOT NULL,
    peer     INTEGER NOT NULL,
    device   BLOB NOT NULL,
    low      INTEGER NOT NULL,
    high     INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    PRIMARY KEY (account, peer, device, low)
) WITHOUT ROWID;
CREATE INDEX gaps_by_time ON gaps (account, since_ms);

-- Sends of a locked profile, sealed to the queue's public key.
CREATE TABLE locked_queue (
    ord        INTEGER PRIMARY KEY AUTOINCREMENT,
    account    INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    sealed     BLOB NOT NULL
);

-- +goose Down
-- The schema only goes forward; a downgrade is refused before it touches the file.
SELECT 1;
