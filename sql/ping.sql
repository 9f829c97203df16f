-- name: ping :count
-- Touches the table, so that a database without its schema, or without the right to it, is not healthy.
select from quiz_sessions limit 0;
