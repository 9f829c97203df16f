-- name: count_erasable :one
-- in:  session_id uuid?, user_id text?, before timestamptz?
-- out: sessions bigint, lines bigint, positions bigint, actors bigint
--
-- Counts what erasing a session, a user's sessions, or those that have ended before a time would delete: sessions, lines
-- of their journals and positions in the feed; and the lines of other journals that name the user as the actor.
with found as materialized (
  select id
  from quiz_sessions
  where (%(session_id)s::uuid is null or id = %(session_id)s::uuid)
    and (%(user_id)s::text is null or user_id = %(user_id)s::text)
    and (
      %(before)s::timestamptz is null
      or (
        status in ('completed', 'expired')
        and coalesce(completed_at, closes_at, 'infinity') < %(before)s::timestamptz
      )
    )
)
select
  (select count(*) from found) as sessions,
  (select count(*) from found join session_events as e on e.session_id = found.id) as lines,
  (select count(*) from found join event_positions as p on p.session_id = found.id) as positions,
  (
    select count(*)
    from session_events
    where (
        (actor ->> 'type' = 'staff' and actor ->> 'subject' = %(user_id)s::text)
        or (actor ? 'acting' and actor ->> 'acting' = %(user_id)s::text and %(user_id)s::text <> 'unknown')
      )
      and session_id not in (select id from found)
  ) as actors;
