-- name: ping :one
-- in:  text text, number integer, moment timestamptz, id uuid, document jsonb
-- out: text text, number integer, moment timestamptz, id uuid, document jsonb
--
-- Returns its parameters, so that the caller sees whether a value of each type comes back unchanged. Fails without the
-- tables or the right to read them. `for update` locks no row, but fails on a read-only database.
select
  %(text)s::text as text,
  %(number)s::integer as number,
  %(moment)s::timestamptz as moment,
  %(id)s::uuid as id,
  %(document)s::jsonb as document
from (select count(*) from (select from quiz_sessions where false for update) as locked) as touched
cross join (select count(*) from (select from quiz_orders where false for update) as locked) as orders
cross join (select count(*) from (select from session_events where false) as read) as journal
cross join (select count(*) from (select from unplaced_events where false) as read) as unplaced
cross join (select count(*) from (select from event_positions where false) as read) as positions
cross join (select count(*) from (select from event_feeds where false for update) as locked) as feed;
