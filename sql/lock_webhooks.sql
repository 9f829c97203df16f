-- name: lock_webhooks :count
--
-- Tries to acquire the lock of the process that sends webhooks until the end of the connection; 0 if another has it.
select
where pg_try_advisory_lock(7765626873);
