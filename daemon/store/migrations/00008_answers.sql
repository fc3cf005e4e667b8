-- +goose Up
-- Envelopes have one more status: 4, the device could not open it and asked for
-- it again. Rows of delivered messages stay, without ciphertext, for the devices
-- that have not acknowledged them.
CREATE INDEX envelopes_asked ON envelopes (account, ord) WHERE status = 4;

-- Devices that a manifest removed, and when that was learned (profile time):
-- their sessions open what the server took before, and nothing is sealed in them.
CREATE TABLE removed (
    account INTEGER NOT NULL REFERENCES accounts (id),
    peer    INTEGER NOT NULL REFERENCES peers (id),
    device  BLOB NOT NULL,
    at_ms   INTEGER NOT NULL,
    PRIMARY KEY (account, peer, device)
) WITHOUT ROWID;

-- +goose Down
-- The schema only goes forward; a downgrade is refused before it touches the file.
SELECT 1;
