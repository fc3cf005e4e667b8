-- +goose Up
-- A gap that was told is kept, so that a number that was never seen can be told
-- from one that is used twice. What is known of devices so far does not say which
-- numbers came: all of them count as not seen.
ALTER TABLE gaps ADD COLUMN told INTEGER NOT NULL DEFAULT 0;
INSERT OR IGNORE INTO gaps (account, peer, device, low, high, since_ms, told)
    SELECT account, peer, device, 1, high, 0, 1 FROM seen_n;
DROP INDEX gaps_by_time;
CREATE INDEX gaps_untold ON gaps (account, since_ms) WHERE told = 0;

-- +goose Down
-- The schema only goes forward; a downgrade is refused before it touches the file.
SELECT 1;
