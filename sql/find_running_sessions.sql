-- name: find_running_sessions :many unprepared
-- in:  quiz_id text, user_ids text[]?, except_user text?, began_at timestamptz, done text?, before_at timestamptz?,
-- in:  before_id uuid?, count integer
-- out: id uuid, created_at timestamptz
--
-- Finds the sessions of a quiz, or of some users, that were created before the order began and run or are paused; without
-- those that have the order's `key digest` already, and without those of the excepted user. Newest first, after the last
-- one of the page before. It locks no row. Unprepared, as list_sessions.
select id, created_at
from quiz_sessions
where quiz_id = %(quiz_id)s::text
  and (%(user_ids)s::text[] is null or user_id = any (%(user_ids)s::text[]))
  and (%(except_user)s::text is null or user_id <> %(except_user)s::text)
  -- Both are whole milliseconds: a session of the same one may have been acknowledged before.
  and created_at <= %(began_at)s::timestamptz
  and (status = 'paused' or (status = 'in_progress' and (closes_at is null or closes_at > clock_timestamp())))
  and (%(done)s::text is null or %(done)s::text <> all (recent_orders))
  and (
    %(before_id)s::uuid is null
    or (created_at, id) < (%(before_at)s::timestamptz, %(before_id)s::uuid)
  )
order by created_at desc, id desc
limit %(count)s::integer;
