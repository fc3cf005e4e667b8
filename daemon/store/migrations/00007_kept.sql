-- +goose Up
-- When a message was stored, in profile time: what retention counts from. The
-- wall clock of received_ms may have been wrong by years.
ALTER TABLE messages ADD COLUMN kept_ms INTEGER NOT NULL DEFAULT 0;
UPDATE messages SET kept_ms = received_ms;
CREATE INDEX messages_kept ON messages (account, kept_ms) WHERE direction = 1;
DROP INDEX messages_received;

-- +goose Down
-- The schema only goes forward; a downgrade is refused before it touches the file.
SELECT 1;
