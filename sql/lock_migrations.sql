-- name: lock_migrations :count
--
-- Tries to acquire the lock of the migrations until the end of the connection; 0 if another runner holds it. A statement
-- that waited for it would have a snapshot, and `create index concurrently` waits for older snapshots: a deadlock.
select
where pg_try_advisory_lock(7365737369);
