-- name: write_sessions :many
-- in:  writes jsonb
-- out: id uuid, user_id text, quiz_id integer, current_question integer, answers jsonb, status text,
-- out: version integer, started_at timestamptz, expires_at timestamptz, last_saved_at timestamptz,
-- out: completed_at timestamptz?, created_at timestamptz, updated_at timestamptz,
-- out: verdict text, checked_at timestamptz, ordinality integer
--
-- Every change of running sessions, at most one of each: saves and completions are one statement, so that
-- the rows are locked, judged and written in one round trip. It waits for no lock, and so for nobody: a row
-- that somebody else holds, or a write that queues behind one for such a row, comes back as `busy`. No row for
-- a write: there is no such session, or none of the owner's whom the write names. A row of somebody else's is
-- neither locked nor told of.
with asked as materialized (
  select *
  from jsonb_to_recordset(%(writes)s::jsonb) as a (
    ordinality integer, id uuid, changes jsonb, expected_versions integer[], current_question integer, is_completion boolean,
    key text, digest text, must_queue boolean, owner text
  )
),
held as materialized (
  select a, found.s
  from asked as a
  cross join lateral (
    select s
    from quiz_sessions as s
    where s.id = a.id
      and (a.owner is null or s.user_id = a.owner)
    for update skip locked
  ) as found
  where not a.must_queue
),
-- The clock is read once the row is held: a write that waited for it across expires_at is late.
clocked as materialized (
  select
    a, s,
    date_trunc('milliseconds', clock_timestamp()) as checked_at,
    jsonb_strip_nulls((s).answers || (a).changes) as merged
  from held
),
judged as materialized (
  select
    a, s, checked_at, merged,
    case
      when (s).status = 'completed' then
        case when (a).is_completion and merged = (s).answers then 'repeated' else 'completed' end
      when (s).status = 'expired' or (s).expires_at <= checked_at then 'expired'
      when (a).key || ' ' || (a).digest = any ((s).recent_writes) then 'repeated'
      -- A digest that another DIGEST_KEY or an older release has made cannot be compared: it counts as equal.
      when exists (
        select from unnest((s).recent_writes) as recent where split_part(recent, ' ', 1) = (a).key
      ) then
        case
          when exists (
            select from unnest((s).recent_writes) as recent
            where starts_with(recent, (a).key || ' ' || split_part((a).digest, '.', 1) || '.')
          ) then 'key_reused'
          else 'repeated'
        end
      when (s).version <> all ((a).expected_versions) then 'conflict'
      -- Only what is large is measured: as text it is at most six times as long, and 10 000 answers are longer.
      when pg_column_size(merged) > 100000 and (
        octet_length(merged::text) > 1048576
        or (select count(*) from jsonb_object_keys(merged)) > 10000
      ) then 'too_large'
      else 'ok'
    end as verdict
  from clocked
),
written as (
  update quiz_sessions as t
  set
    answers = merged,
    current_question = coalesce((a).current_question, t.current_question),
    version = t.version + 1,
    last_saved_at = case when (a).changes = '{}' then t.last_saved_at else checked_at end,
    updated_at = checked_at,
    status = case when (a).is_completion then 'completed' else t.status end,
    completed_at = case when (a).is_completion then checked_at end,
    recent_writes = case
      when (a).is_completion then '{}'
      when (a).key is null then t.recent_writes
      else array_prepend((a).key || ' ' || (a).digest, t.recent_writes[:15])
    end
  from judged
  where t.id = (s).id
    and verdict = 'ok'
  returning t
),
told as (
  select coalesce(t, s) as r, verdict, checked_at, (a).ordinality
  from judged left join written on (t).id = (s).id
  union all
  select s, 'busy', clock_timestamp(), a.ordinality
  from asked as a
  join quiz_sessions as s on s.id = a.id and (a.owner is null or s.user_id = a.owner)
  where not exists (select from held where (held.a).ordinality = a.ordinality)
)
select
  (r).id, (r).user_id, (r).quiz_id, (r).current_question, (r).answers,
  case when verdict = 'expired' then 'expired' else (r).status end as status,
  (r).version, (r).started_at, (r).expires_at, (r).last_saved_at, (r).completed_at,
  (r).created_at, (r).updated_at,
  verdict, checked_at, ordinality
from told;
