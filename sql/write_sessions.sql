-- name: write_sessions :many
-- in:  writes jsonb
-- record: id uuid, owner text?, changes jsonb, expected_versions integer[]?, current_question integer?,
-- record: is_completion boolean, key text?, digest text?, ordinality integer, must_queue boolean
-- out: id uuid, user_id text, quiz_id integer, current_question integer, answers jsonb, status text,
-- out: version integer, started_at timestamptz, expires_at timestamptz, last_saved_at timestamptz,
-- out: completed_at timestamptz?, created_at timestamptz, updated_at timestamptz,
-- out: verdict text, checked_at timestamptz, ordinality integer
--
-- Saves answers and completes sessions: locks, checks and updates the rows of a batch in one round trip. A batch has
-- at most one write of a session, except writes with must_queue. The statement waits for no lock: the verdict is
-- `busy` if another transaction holds the row, or if must_queue is set. A write without a row in the result is for a
-- session that does not exist or, if the record has an owner, belongs to another user: such a row is not locked.
with asked as materialized (
  select *
  from jsonb_to_recordset(%(writes)s::jsonb) as a (
    id uuid, owner text, changes jsonb, expected_versions integer[], current_question integer,
    is_completion boolean, key text, digest text, ordinality integer, must_queue boolean
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
-- The clock is read after the row is locked: a write that waited for the lock until after expires_at is too late.
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
      -- Digests by another DIGEST_KEY or an older release cannot be compared: they count as equal.
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
      -- pg_column_size is cheap, and a safe first test: the text is at most six times as long, and 10 000 answers
      -- take more than 100 000 bytes.
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
results as (
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
from results;
