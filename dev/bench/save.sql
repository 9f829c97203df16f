-- What pgbench runs: PostgreSQL's own pace at saving one answer in one statement and one transaction.
-- The row is locked, judged and written by the update; the id is the one that dev/bench/stores.py gives to `n`.
\set n random(0, :sessions - 1)
\set question random(0, :questions - 1)
\set text random(10, 99)
update quiz_sessions
set
  answers = answers || jsonb_build_object(:question::text, 'answer ' || :text::text),
  current_question = :question::text,
  version = version + 1,
  last_saved_at = date_trunc('milliseconds', clock_timestamp()),
  updated_at = date_trunc('milliseconds', clock_timestamp())
where id = overlay(overlay(md5(:n::text) placing '4' from 13) placing '8' from 17)::uuid
  and status = 'in_progress'
  and closes_at > clock_timestamp()
returning
  id, status, version, user_id, quiz_id, current_question, answers, annotations, attempt, metadata, started_at,
  expires_at, closes_at, on_expiry, late_saves, last_saved_at, completed_at, ended_by, created_at, updated_at;
