-- +goose Up
-- The sender demanded a verified recipient: held when the message is sent again.
ALTER TABLE messages ADD COLUMN verified INTEGER NOT NULL DEFAULT 0;
