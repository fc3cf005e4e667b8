-- +goose Up

-- The server's time when it last ran (one row), to find a wall clock that
-- jumped while the server stood.
CREATE TABLE clock (
    id   INTEGER PRIMARY KEY,
    at   INTEGER NOT NULL,
    held INTEGER NOT NULL -- 1: the wall clock jumped, and nobody has confirmed it
);
