-- name: get_sessions :many
-- in:  reads jsonb
-- record: id uuid, owner text?, ordinality integer
-- out: id uuid, user_id text, quiz_id integer, current_question integer, answers jsonb, status text,
-- out: version integer, started_at timestamptz, expires_at timestamptz, last_saved_at timestamptz,
-- out: completed_at timestamptz?, created_at timestamptz, updated_at timestamptz,
-- out: verdict text, checked_at timestamptz, ordinality integer
--
-- One row for each record whose session exists and, if the record has an owner, belongs to that owner.
with clocked as (
  select s, date_trunc('milliseconds', clock_timestamp()) as checked_at, ordinality
  from jsonb_to_recordset(%(reads)s::jsonb) as a (id uuid, owner text, ordinality integer)
  join quiz_sessions as s on s.id = a.id and (a.owner is null or s.user_id = a.owner)
),
judged as (
  select
    *,
    case
      when (s).status = 'completed' then 'ok'
      when (s).status = 'expired' or (s).expires_at <= checked_at then 'expired'
      else 'ok'
    end as verdict
  from clocked
)
select
  (s).id, (s).user_id, (s).quiz_id, (s).current_question, (s).answers,
  case when verdict = 'expired' then 'expired' else (s).status end as status,
  (s).version, (s).started_at, (s).expires_at, (s).last_saved_at, (s).completed_at,
  (s).created_at, (s).updated_at,
  verdict, checked_at, ordinality
from judged;
