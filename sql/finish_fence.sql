-- name: finish_fence :count
-- in:  era uuid
--
-- Finishes a fence: from now on the service starts.
update fences
set finished_at = date_trunc('milliseconds', clock_timestamp())
where era = %(era)s;
