create table quiz_sessions (
  id                uuid           not null,
  user_id           text           not null,
  -- The quizzes live in another service: no foreign key.
  quiz_id           integer        not null,
  -- Where a learner who resumes is put; the last question saved.
  current_question  integer        not null default 0,
  -- Question id in canonical decimal -> answer; a cleared answer has no key.
  answers           jsonb          not null default '{}',
  -- `in_progress` past expires_at reads as `expired`, stored or not.
  status            text           not null default 'in_progress',
  -- +1 for each change: what clients compare, and what the cache is ordered by.
  version           integer        not null default 1,
  -- Every time is a whole millisecond, so that what was told compares equal to what is stored.
  started_at        timestamptz(3) not null,
  expires_at        timestamptz(3) not null,
  last_saved_at     timestamptz(3) not null,
  completed_at      timestamptz(3),
  created_at        timestamptz(3) not null,
  updated_at        timestamptz(3) not null,
  -- The start's Idempotency-Key and what it stood for; kept as long as the row.
  start_key         text,
  start_digest      text,
  -- `key digest` of the last 16 keyed writes, newest first.
  recent_writes     text[]         not null default '{}',

  constraint quiz_sessions_pkey primary key (id),
  constraint quiz_sessions_user_id_length check (char_length(user_id) between 1 and 255),
  constraint quiz_sessions_quiz_id_positive check (quiz_id >= 1),
  constraint quiz_sessions_current_question_natural check (current_question >= 0),
  constraint quiz_sessions_answers_object check (jsonb_typeof(answers) = 'object'),
  constraint quiz_sessions_status_known check (status in ('in_progress', 'completed', 'expired')),
  constraint quiz_sessions_version_positive check (version >= 1),
  constraint quiz_sessions_expires_after_start check (expires_at > started_at),
  constraint quiz_sessions_completed_at_iff_completed check ((status = 'completed') = (completed_at is not null)),
  constraint quiz_sessions_start_digest_iff_key check ((start_key is null) = (start_digest is null)),
  constraint quiz_sessions_recent_writes_few check (cardinality(recent_writes) <= 16)
);

-- One session for each start key of a user, however many starts race for it.
create unique index quiz_sessions_start_key on quiz_sessions (user_id, start_key) where start_key is not null;

-- Newest first, of a user, of a user's quiz, of a quiz, of all: the lists and the look-up of a live session.
create index quiz_sessions_user_quiz_newest on quiz_sessions (user_id, quiz_id, created_at desc, id desc);
create index quiz_sessions_user_newest on quiz_sessions (user_id, created_at desc, id desc);
create index quiz_sessions_quiz_newest on quiz_sessions (quiz_id, created_at desc, id desc);
create index quiz_sessions_newest on quiz_sessions (created_at desc, id desc);

-- What the sweeper looks for: running sessions by their end.
create index quiz_sessions_running_by_end on quiz_sessions (expires_at) where status = 'in_progress';
