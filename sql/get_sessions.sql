-- name: get_sessions :many
-- in:  reads jsonb
-- record: id uuid, owner text?, quizzes text[], ordinality integer
-- out: id uuid, status text, version integer, user_id text, quiz_id text, current_question text, answers jsonb,
-- out: annotations jsonb, attempt integer?, metadata jsonb, started_at timestamptz, expires_at timestamptz?,
-- out: closes_at timestamptz?, on_expiry text, late_saves integer, last_saved_at timestamptz, completed_at timestamptz?,
-- out: ended_by text?, created_at timestamptz, updated_at timestamptz, paused_at timestamptz?, verdict text,
-- out: checked_at timestamptz, ordinality integer
--
-- One row for each record whose session exists and, if the record has an owner, belongs to that owner or is of one of the
-- quizzes. The verdict `overdue` is for a session whose end is not stored yet: write_sessions stores it.
with clocked as (
  select s, date_trunc('milliseconds', clock_timestamp()) as checked_at, ordinality
  from jsonb_to_recordset(%(reads)s::jsonb) as a (id uuid, owner text, quizzes text[], ordinality integer)
  join quiz_sessions as s on s.id = a.id and (a.owner is null or s.user_id = a.owner or s.quiz_id = any (a.quizzes))
)
select
  (s).id, (s).status, (s).version, (s).user_id, (s).quiz_id, (s).current_question, (s).answers,
  (s).annotations, (s).attempt, (s).metadata, (s).started_at, (s).expires_at, (s).closes_at, (s).on_expiry,
  (s).late_saves, (s).last_saved_at, (s).completed_at, (s).ended_by, (s).created_at, (s).updated_at,
  (s).paused_at,
  case
    when (s).status = 'expired' then 'expired'
    when (s).status = 'in_progress' and (s).closes_at <= checked_at then 'overdue'
    else 'ok'
  end as verdict,
  checked_at, ordinality
from clocked;
