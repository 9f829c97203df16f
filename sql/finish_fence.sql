-- name: finish_fence :count
-- in:  era uuid
--
-- Finishes a fence: from now on the service starts. No id of a session is left, which may be erased later.
update fences
set finished_at = date_trunc('milliseconds', clock_timestamp()), reached = null
where era = %(era)s;
