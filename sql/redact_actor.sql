-- name: redact_actor :count
-- in:  user_id text, count integer
--
-- Removes a user as the actor of up to `count` lines in the journals of other users' sessions: the user gave an order, or
-- acted for the learner. What the line says of the session stays. Locked lines are left out: they are being erased.
-- The party `unknown` is one without a name, and no user who is called so.
with found as materialized (
  select session_id, version
  from session_events
  where (actor ->> 'type' = 'staff' and actor ->> 'subject' = %(user_id)s::text)
    or (actor ? 'acting' and actor ->> 'acting' = %(user_id)s::text and %(user_id)s::text <> 'unknown')
  limit %(count)s::integer
  for update skip locked
)
update session_events as e
set
  actor = case when e.actor ->> 'subject' = %(user_id)s::text then e.actor - 'subject' else e.actor end
    || case when e.actor ->> 'acting' = %(user_id)s::text then '{"acting": "unknown"}'::jsonb else '{}'::jsonb end,
  client_id = null,
  request_id = null,
  trace_id = null
from found
where e.session_id = found.session_id
  and e.version = found.version;
