-- squawk-ignore-file ban-drop-constraint, ban-drop-default, ban-drop-not-null, changing-column-type
-- squawk-ignore-file constraint-missing-not-valid, require-concurrent-index-creation, require-concurrent-index-deletion
--
-- These rules are for releases that run side by side; the step to contract 2.0 needs a stop of the service.
-- One rewrite of the table, under an access exclusive lock; CONTRIBUTING.md says for how long. Existing rows keep their
-- meaning: an integer id becomes its decimal, and a session closes when it expires.
alter table quiz_sessions
  drop constraint quiz_sessions_quiz_id_positive,
  drop constraint quiz_sessions_current_question_natural,
  drop constraint quiz_sessions_status_known,
  -- The digest goes when the session ends, the key stays.
  drop constraint quiz_sessions_start_digest_iff_key;

drop index quiz_sessions_running_by_end;

-- Room for the next version of a row on its own page: its indexes then need no new entries.
alter table quiz_sessions set (fillfactor = 85);

alter table quiz_sessions
  -- Question id -> what a front end notes about the question.
  add column annotations    jsonb           not null default '{}',
  -- expires_at plus the grace, null if the session has no end: every decision about time uses it alone.
  add column closes_at      timestamptz(3),
  add column grace_seconds  integer         not null default 0,
  -- What happens to a running session at closes_at: `expire` or `complete`.
  add column on_expiry      text            not null default 'expire',
  -- `learner`, `deadline` or `proctor`; null while the session runs.
  add column ended_by       text,
  -- Writes with answers or annotations between expires_at and closes_at.
  add column late_saves     integer         not null default 0,
  add column time_factor    float8          not null default 1,
  -- The limit of the user's sessions of the quiz, and the number of this one; both null without a limit.
  add column max_attempts   integer,
  add column attempt        integer,
  -- The platform's own values.
  add column metadata       jsonb           not null default '{}';

-- lz4 halves the time of a save of 500 answers; a server may be built without it.
do $$
begin
  alter table quiz_sessions
    alter column answers set compression lz4,
    alter column annotations set compression lz4;
exception
  when feature_not_supported then null;
end
$$;

alter table quiz_sessions
  alter column current_question drop default,
  alter column quiz_id type text using quiz_id::text,
  alter column current_question type text using current_question::text,
  alter column closes_at type timestamptz(3) using expires_at,
  alter column ended_by type text using case status when 'completed' then 'learner' when 'expired' then 'deadline' end,
  alter column start_digest type text using case when status = 'in_progress' then start_digest end,
  alter column current_question set default '0',
  alter column expires_at drop not null,
  add constraint quiz_sessions_quiz_id_length check (char_length(quiz_id) between 1 and 128),
  add constraint quiz_sessions_current_question_length check (char_length(current_question) between 1 and 128),
  add constraint quiz_sessions_annotations_object check (jsonb_typeof(annotations) = 'object'),
  add constraint quiz_sessions_metadata_object check (jsonb_typeof(metadata) = 'object'),
  add constraint quiz_sessions_status_known check (status in ('in_progress', 'completed', 'expired', 'paused')),
  add constraint quiz_sessions_on_expiry_known check (on_expiry in ('expire', 'complete')),
  add constraint quiz_sessions_ended_by_known check (ended_by in ('learner', 'deadline', 'proctor')),
  add constraint quiz_sessions_ended_by_iff_ended check ((status in ('completed', 'expired')) = (ended_by is not null)),
  add constraint quiz_sessions_closes_after_expiry check (closes_at >= expires_at),
  add constraint quiz_sessions_grace_natural check (grace_seconds >= 0),
  add constraint quiz_sessions_late_saves_natural check (late_saves >= 0),
  add constraint quiz_sessions_time_factor_least_1 check (time_factor >= 1),
  add constraint quiz_sessions_attempt_iff_limited check ((attempt is null) = (max_attempts is null)),
  add constraint quiz_sessions_start_digest_has_key check (start_key is not null or start_digest is null);

-- What the sweeper looks for: running sessions that close, by the time.
create index quiz_sessions_running_by_close on quiz_sessions (closes_at)
where status = 'in_progress' and closes_at is not null;

-- The starts that limit the attempts of a user at a quiz.
create index quiz_sessions_limited on quiz_sessions (user_id, quiz_id) where max_attempts is not null;
