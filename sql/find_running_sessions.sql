-- name: find_running_sessions :many unprepared
-- in:  quiz_id text, user_ids text[]?, except_user text?, began_at timestamptz, key text?, digest text?,
-- in:  before_at timestamptz?, before_id uuid?, count integer
-- out: id uuid, created_at timestamptz
--
-- Finds the sessions of a quiz, or of some users, that ran or were paused when the order began: also those that their
-- learner or their deadline has ended since, but not those that another order has ended. Without the sessions that the
-- order has reached, and without those of the excepted user. Newest first, after the last one of the page before. It
-- locks no row. Unprepared, as list_sessions: running and ended sessions have an index each.
with wanted as not materialized (
  select id, created_at, status, ended_by
  from quiz_sessions
  where quiz_id = %(quiz_id)s::text
    and (%(user_ids)s::text[] is null or user_id = any (%(user_ids)s::text[]))
    and (%(except_user)s::text is null or user_id <> %(except_user)s::text)
    -- Both are whole milliseconds: a session of the same one may have been acknowledged before.
    and created_at <= %(began_at)s::timestamptz
    -- The time of the end of a session that has ended, and otherwise of the end that it will have.
    and coalesce(completed_at, closes_at, 'infinity') > %(began_at)s::timestamptz
    -- The order has reached a session that has its key and digest; when a session ends, it keeps the key alone.
    and (
      %(key)s::text is null
      or (%(key)s::text <> all (recent_orders) and %(key)s::text || ' ' || %(digest)s::text <> all (recent_orders))
    )
    and (
      %(before_id)s::uuid is null
      or (created_at, id) < (%(before_at)s::timestamptz, %(before_id)s::uuid)
    )
),
running as (
  select id, created_at
  from wanted
  where status in ('in_progress', 'paused')
  order by created_at desc, id desc
  limit %(count)s::integer
),
-- Without an order: the planner takes those that ended after a time for many, and would read all sessions by their age.
ended as materialized (
  select id, created_at
  from wanted
  where status in ('completed', 'expired')
    and ended_by in ('learner', 'deadline')
)
select id, created_at
from (
  select * from running
  union all
  select * from ended
) as found
order by created_at desc, id desc
limit %(count)s::integer;
