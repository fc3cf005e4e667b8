PRAGMA foreign_keys = OFF;
BEGIN TRANSACTION;
CREATE TABLE consumers (
    name       TEXT PRIMARY KEY,
    cursor     INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    acked_ms   INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO "consumers" VALUES('bot',0,3,4);
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO "counters" VALUES('arrival',1);
INSERT INTO "counters" VALUES('event',1);
INSERT INTO "counters" VALUES('order',1);
CREATE TABLE dedupe (
    account INTEGER NOT NULL,
    peer    INTEGER NOT NULL,
    id      BLOB NOT NULL,
    at_ms   INTEGER NOT NULL,
    PRIMARY KEY (account, peer, id)
) WITHOUT ROWID;
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
INSERT INTO "events" VALUES(1,1,'e','message',1,1,6,X'B49596E5B0A61F6A05913097AE33763080645E8947C69AE1929FAA6AFA2306A18482');
CREATE TABLE gaps (
    account  INTEGER NOT NULL,
    peer     INTEGER NOT NULL,
    device   BLOB NOT NULL,
    low      INTEGER NOT NULL,
    high     INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    PRIMARY KEY (account, peer, device, low)
) WITHOUT ROWID;
CREATE TABLE goose_db_version (
		id INTEGER PRIMARY KEY AUTOINCREMENT,
		version_id INTEGER NOT NULL,
		is_applied INTEGER NOT NULL,
		tstamp TIMESTAMP DEFAULT (datetime('now'))
	);
INSERT INTO "goose_db_version" VALUES(1,0,1,'2026-11-22 22:01:40');
INSERT INTO "goose_db_version" VALUES(2,1,1,'2026-11-22 22:01:40');
CREATE TABLE idempotency (
    account INTEGER NOT NULL,
    tag     BLOB NOT NULL,
    digest  BLOB NOT NULL,
    ids     BLOB NOT NULL,
    at_ms   INTEGER NOT NULL,
    PRIMARY KEY (account, tag)
) WITHOUT ROWID;
CREATE TABLE locked_queue (
    ord        INTEGER PRIMARY KEY AUTOINCREMENT,
    account    INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    sealed     BLOB NOT NULL
);
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
INSERT INTO "messages" VALUES(1,X'01000000000000000000000000000000',1,1,1,X'00000000000000000000000000000000',1,1,1,5,6,'','',0,0,1,X'8786ED39636D8EF5BFF143B2929D7354E6BE60742F546853B98730B0765435CF949A8F8B');
CREATE TABLE meta (
    account INTEGER NOT NULL,
    key     TEXT NOT NULL,
    value   BLOB NOT NULL,
    PRIMARY KEY (account, key)
) WITHOUT ROWID;
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
INSERT INTO "outbox" VALUES(1,X'02000000000000000000000000000000',1,1,X'',1,0,1,'',0,0,7,8,9,X'DEF6C62FC2ABE704082DB27D56481C91FCF8F34E3A24E8BEBB01A1C28745D2AE889E968B8C');
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
CREATE TABLE peers (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    account INTEGER NOT NULL,
    tag     BLOB NOT NULL,
    address BLOB NOT NULL, -- sealed
    UNIQUE (account, tag)
);
INSERT INTO "peers" VALUES(1,1,X'D74FD94033178150B2F6537258A286331F96AEC7A69248DDE8E90612A4D859C3',X'0E5BBFB5854C4256B63CA51F0A348F4D334B0D3FD48A4029725F5E1BE5E038F59D909DBF9C979E8BD19A879E928F939AD19C9092');
CREATE TABLE rebuilds (
    account INTEGER NOT NULL,
    peer    INTEGER NOT NULL,
    device  BLOB NOT NULL,
    at_ms   INTEGER NOT NULL,
    PRIMARY KEY (account, peer, device)
) WITHOUT ROWID;
CREATE TABLE receipts (
    account INTEGER NOT NULL,
    peer    INTEGER NOT NULL,
    id      BLOB NOT NULL,
    state   INTEGER NOT NULL,
    at_ms   INTEGER NOT NULL,
    PRIMARY KEY (account, peer, id, state)
) WITHOUT ROWID;
CREATE TABLE seen_n (
    account INTEGER NOT NULL,
    peer    INTEGER NOT NULL,
    device  BLOB NOT NULL,
    high    INTEGER NOT NULL,
    PRIMARY KEY (account, peer, device)
) WITHOUT ROWID;
CREATE TABLE sent_n (
    account INTEGER NOT NULL,
    peer    INTEGER NOT NULL,
    last    INTEGER NOT NULL,
    PRIMARY KEY (account, peer)
) WITHOUT ROWID;
CREATE INDEX messages_by_arrival ON messages (account, peer, arrival);
CREATE INDEX messages_unread ON messages (account, arrival) WHERE unread = 1;
CREATE INDEX outbox_by_phase ON outbox (account, phase, ord);
CREATE INDEX outbox_by_peer ON outbox (account, peer, ord);
CREATE INDEX envelopes_pending ON envelopes (account, ord) WHERE status = 1;
CREATE INDEX events_by_id ON events (id);
CREATE INDEX events_by_time ON events (created_ms);
CREATE INDEX dedupe_by_time ON dedupe (account, at_ms);
CREATE INDEX parked_by_reason ON parked (account, reason, ord);
CREATE INDEX gaps_by_time ON gaps (account, since_ms);
INSERT INTO "sqlite_sequence" VALUES('goose_db_version',2);
INSERT INTO "sqlite_sequence" VALUES('peers',1);
COMMIT;
