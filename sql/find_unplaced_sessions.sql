-- name: find_unplaced_sessions :many
-- in:  quiz_id text
-- out: id uuid, version integer
--
-- Finds the sessions of a quiz with an event that has no position, and their versions. The cache was raised for all
-- others, since that comes before a position.
select id, version
from quiz_sessions
where quiz_id = %(quiz_id)s::text
  and id in (select session_id from unplaced_events);
