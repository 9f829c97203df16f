-- name: take_retention_turn :one
-- out: is_taken boolean
--
-- Takes the turn to erase old sessions until the transaction ends, unless another instance has it.
select pg_try_advisory_xact_lock(hashtext('session_service.retention'), 0) as is_taken;
