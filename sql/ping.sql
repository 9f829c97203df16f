-- name: ping :count
-- Touches the table, so that a database without its schema, or without the right to it, is not healthy; and asks
-- to lock none of its rows, which a database that takes no writes refuses.
select from quiz_sessions where false for update;
