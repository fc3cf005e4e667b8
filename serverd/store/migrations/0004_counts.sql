-- +goose Up

-- What the blobs of each account take. Triggers keep it, so that no statement
-- that changes blobs can forget to.
CREATE TABLE blob_usage (
    owner      TEXT PRIMARY KEY,
    bytes      INTEGER NOT NULL, -- reserved
    blobs      INTEGER NOT NULL,
    unfinished INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO blob_usage (owner, bytes, blobs, unfinished)
    SELECT owner, sum(reserved), count(*), sum(state = 1) FROM blobs WHERE owner <> '' GROUP BY owner;

-- +goose StatementBegin
CREATE TRIGGER blobs_counted AFTER INSERT ON blobs WHEN NEW.owner <> '' BEGIN
    INSERT INTO blob_usage (owner, bytes, blobs, unfinished) VALUES (NEW.owner, NEW.reserved, 1, NEW.state = 1)
        ON CONFLICT (owner) DO UPDATE SET bytes = bytes + excluded.bytes, blobs = blobs + 1, unfinished = unfinished + excluded.unfinished;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER blobs_changed AFTER UPDATE OF state, reserved ON blobs WHEN NEW.owner = OLD.owner BEGIN
    UPDATE blob_usage SET bytes = bytes + NEW.reserved - OLD.reserved, unfinished = unfinished + (NEW.state = 1) - (OLD.state = 1) WHERE owner = NEW.owner;
END;
-- +goose StatementEnd

-- An owner only changes to '', when its account is deleted.
-- +goose StatementBegin
CREATE TRIGGER blobs_disowned AFTER UPDATE OF owner ON blobs WHEN NEW.owner <> OLD.owner BEGIN
    UPDATE blob_usage SET bytes = bytes - OLD.reserved, blobs = blobs - 1, unfinished = unfinished - (OLD.state = 1) WHERE owner = OLD.owner;
    DELETE FROM blob_usage WHERE owner = OLD.owner AND blobs = 0;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER blobs_uncounted AFTER DELETE ON blobs WHEN OLD.owner <> '' BEGIN
    UPDATE blob_usage SET bytes = bytes - OLD.reserved, blobs = blobs - 1, unfinished = unfinished - (OLD.state = 1) WHERE owner = OLD.owner;
    DELETE FROM blob_usage WHERE owner = OLD.owner AND blobs = 0;
END;
-- +goose StatementEnd

DROP INDEX blobs_owner;
CREATE INDEX blobs_owner ON blobs (owner);

-- The search for expired blobs must not walk over the dead ones, which pile up
-- while the blob store cannot delete.
DROP INDEX blobs_expires;
CREATE INDEX blobs_due ON blobs (expires) WHERE state <> 3;

-- The sum of the parts, and a way to the small ones, so that a ticket costs the
-- same for a blob of four thousand parts as for one of two.
ALTER TABLE blobs ADD COLUMN taken INTEGER NOT NULL DEFAULT 0;
UPDATE blobs SET taken = (SELECT coalesce(sum(size), 0) FROM blob_parts WHERE blob = id);
CREATE INDEX blob_parts_size ON blob_parts (blob, size);

-- Used keys and revoked devices pile up; these pass over them.
CREATE INDEX prekeys_expires ON prekeys (device, expires);
CREATE INDEX devices_active ON devices (account) WHERE revoked = 0;
