-- +goose Up
-- How often, and for how long in milliseconds, the handler of a consumer is run
-- again for an event that it failed on; -1: the defaults.
ALTER TABLE consumers ADD COLUMN retry INTEGER NOT NULL DEFAULT -1;
ALTER TABLE consumers ADD COLUMN dead_after_ms INTEGER NOT NULL DEFAULT -1;
-- How many events its handler never took, those too that are not shown any more.
ALTER TABLE consumers ADD COLUMN dead INTEGER NOT NULL DEFAULT 0;
UPDATE consumers SET dead = (SELECT count(*) FROM failures f WHERE f.consumer = consumers.name AND f.dead = 1);
-- Profile time of the first failure; 0: not known.
ALTER TABLE failures ADD COLUMN first_ms INTEGER NOT NULL DEFAULT 0;

-- +goose Down
-- The schema only goes forward; a downgrade is refused before it touches the file.
SELECT 1;
