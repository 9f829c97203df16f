-- name: list_answered_questions :many unprepared
-- in:  user_id text?, quiz_id text?, status text?, before_ms bigint?, before_id uuid?, count integer, max_bytes integer
-- out: id uuid, created_at timestamptz, scanned integer, questions text[]
--
-- Reads the next `count` sessions as export_sessions does, and returns the questions that those of the status have answers
-- to: at most 2000, the first by their bytes. No row: there is no further session. The page ends when the stored answers
-- of its sessions, which may be compressed, have `max_bytes`.
with clock as materialized (
  select clock_timestamp() as now
),
following as (
  select
    id, created_at,
    case
      when %(status)s::text is null then answers
      when %(status)s::text = case
        when not coalesce(status = 'in_progress' and closes_at <= now, false) then status
        when on_expiry = 'complete' then 'completed'
        else 'expired'
      end then answers
    end as answers
  from quiz_sessions
  cross join clock
  where (%(user_id)s::text is null or user_id = %(user_id)s::text)
    and (%(quiz_id)s::text is null or quiz_id = %(quiz_id)s::text)
    and (
      %(before_id)s::uuid is null
      or (created_at, id)
        < (timestamptz 'epoch' + %(before_ms)s::bigint * interval '1 millisecond', %(before_id)s::uuid)
    )
  order by created_at desc, id desc
  limit %(count)s::integer
),
measured as (
  select
    *,
    row_number() over in_order as number,
    sum(coalesce(pg_column_size(answers), 0)) over in_order as total_bytes
  from following
  window in_order as (order by created_at desc, id desc)
),
page as (
  select *
  from measured
  where number = 1 or total_bytes < %(max_bytes)s::integer
)
select
  id, created_at, number::integer as scanned,
  array(
    select distinct question collate "C" as question
    from page
    cross join lateral jsonb_object_keys(answers) as answered (question)
    order by question
    limit 2000
  ) as questions
from page
order by number desc
limit 1;
