-- name: get_clock :one
-- out: now timestamptz
--
-- Returns the database's time in whole milliseconds.
select date_trunc('milliseconds', clock_timestamp()) as now;
