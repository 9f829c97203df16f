-- name: lock_fence :count
--
-- Tries to acquire the lock of bin/fence until the end of the connection; 0 if another one has it.
select
where pg_try_advisory_lock(7365737370);
