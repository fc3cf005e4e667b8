-- +goose Up
-- What the pump reads after every answer, without what is sealed or accepted:
-- an outbox keeps accepted messages for weeks.
CREATE INDEX outbox_queued ON outbox (account, peer, ord) WHERE phase = 1;
CREATE INDEX outbox_held ON outbox (account, peer, reason) WHERE phase = 4;
CREATE INDEX outbox_expiry ON outbox (account, expires_ms);
DROP INDEX outbox_by_phase;
-- When something came last, for status.
CREATE INDEX messages_received ON messages (account, received_ms) WHERE direction = 1;

-- +goose Down
-- The schema only goes forward; a downgrade is refused before it touches the file.
SELECT 1;
