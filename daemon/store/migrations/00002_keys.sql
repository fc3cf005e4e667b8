-- +goose Up

-- What belongs to the profile and not to an account. queue_public stands in
-- clear, so that a locked profile can queue; everything else is sealed.
CREATE TABLE profile (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

-- Own accounts. state: 1 joining (keys made, not yet answered), 2 active,
-- 3 stopped (another copy of the device took over, or it was revoked).
CREATE TABLE accounts (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    tag         BLOB NOT NULL UNIQUE,
    state       INTEGER NOT NULL,
    is_default  INTEGER NOT NULL,
    steps       INTEGER NOT NULL,
    next_prekey INTEGER NOT NULL,
    fence       BLOB,          -- sealed; null: none yet
    body        BLOB NOT NULL  -- sealed
);

-- Private seeds: identity, signing, exchange, and those of a device to come.
CREATE TABLE account_keys (
    account INTEGER NOT NULL REFERENCES accounts (id),
    kind    TEXT NOT NULL,
    seed    BLOB NOT NULL, -- sealed
    PRIMARY KEY (account, kind)
) WITHOUT ROWID;

-- Private halves of prekeys. kind as in a signed prekey. replaced_ms 0: in use.
CREATE TABLE prekeys (
    account     INTEGER NOT NULL REFERENCES accounts (id),
    kind        INTEGER NOT NULL,
    id          INTEGER NOT NULL,
    created_ms  INTEGER NOT NULL,
    expires_ms  INTEGER NOT NULL,
    replaced_ms INTEGER NOT NULL,
    signed      BLOB NOT NULL, -- the public, signed form
    private     BLOB NOT NULL, -- sealed
    PRIMARY KEY (account, kind, id)
) WITHOUT ROWID;

-- Sessions with one device of a peer.
CREATE TABLE sessions (
    account INTEGER NOT NULL REFERENCES accounts (id),
    peer    INTEGER NOT NULL REFERENCES peers (id),
    device  BLOB NOT NULL,
    session BLOB NOT NULL,
    body    BLOB NOT NULL, -- sealed
    PRIMARY KEY (account, peer, device, session)
) WITHOUT ROWID;

-- Message keys of messages that did not come yet.
CREATE TABLE skipped (
    account    INTEGER NOT NULL REFERENCES accounts (id),
    peer       INTEGER NOT NULL,
    device     BLOB NOT NULL,
    session    BLOB NOT NULL,
    epoch      INTEGER NOT NULL,
    n          INTEGER NOT NULL,
    stored_ms  INTEGER NOT NULL,
    message_key BLOB NOT NULL, -- sealed
    PRIMARY KEY (account, peer, device, session, epoch, n)
) WITHOUT ROWID;

-- Accepted handshakes, with the prekeys that they used (0: used up with it).
-- A row lives as long as one of those.
CREATE TABLE handshakes (
    account   INTEGER NOT NULL REFERENCES accounts (id),
    hash      BLOB NOT NULL,
    signed_id INTEGER NOT NULL,
    kem_id    INTEGER NOT NULL,
    PRIMARY KEY (account, hash)
) WITHOUT ROWID;

-- What is known of a peer. relation: 0 none, 1 contact, 2 blocked; synced 0:
-- the server is to be told. trust: 0 unknown, 1 certified, 2 verified.
CREATE TABLE contacts (
    account  INTEGER NOT NULL REFERENCES accounts (id),
    peer     INTEGER NOT NULL REFERENCES peers (id),
    relation INTEGER NOT NULL,
    synced   INTEGER NOT NULL,
    change   INTEGER NOT NULL, -- counts changes of relation
    request  INTEGER NOT NULL,
    trust    INTEGER NOT NULL,
    nick_tag BLOB,
    body     BLOB NOT NULL, -- sealed
    PRIMARY KEY (account, peer)
) WITHOUT ROWID;
CREATE UNIQUE INDEX contacts_by_nick ON contacts (account, nick_tag) WHERE nick_tag IS NOT NULL;
CREATE INDEX contacts_pending ON contacts (account) WHERE synced = 0;

-- Hashes of manifests that were admitted, to know a fork; peer 0: the own
-- account's. listed: it lists this device (own manifests only).
CREATE TABLE manifests (
    account INTEGER NOT NULL REFERENCES accounts (id),
    peer    INTEGER NOT NULL,
    version INTEGER NOT NULL,
    hash    BLOB NOT NULL,
    listed  INTEGER NOT NULL,
    PRIMARY KEY (account, peer, version)
) WITHOUT ROWID;

-- +goose Down
-- The schema only goes forward; a downgrade is refused before it touches the file.
SELECT 1;
