-- name: ping :one
-- in:  text text, number integer, moment timestamptz, id uuid, document jsonb
-- out: text text, number integer, moment timestamptz, id uuid, document jsonb
--
-- Returns its parameters, so that a value of each type is seen to arrive and to come back unchanged. It touches the
-- table, so that a database without it, or without the right to it, fails; and asks to lock none of its rows, which
-- a database that takes no writes refuses.
select
  %(text)s::text as text,
  %(number)s::integer as number,
  %(moment)s::timestamptz as moment,
  %(id)s::uuid as id,
  %(document)s::jsonb as document
from (select count(*) from (select from quiz_sessions where false for update) as locked) as touched;
