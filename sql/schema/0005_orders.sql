-- squawk-ignore-file prefer-robust-stmts, ban-drop-constraint
--
-- Orders: time that a teacher moves. A default that is a constant rewrites no row.
alter table quiz_sessions
  -- An order may set an end that lies before the start; no release relies on the constraint.
  drop constraint quiz_sessions_expires_after_start,
  -- Since when the session is paused.
  add column paused_at      timestamptz(3),
  -- `key digest` of the last 16 keyed orders, newest first; only the keys of those before an end.
  add column recent_orders  text[] not null default '{}',
  -- A release that knows no pauses may complete a paused session, and leaves its paused_at.
  add constraint quiz_sessions_paused_has_time check (status <> 'paused' or paused_at is not null) not valid,
  add constraint quiz_sessions_paused_closes_never check (status <> 'paused' or closes_at is null) not valid,
  add constraint quiz_sessions_recent_orders_few check (cardinality(recent_orders) <= 16) not valid;

-- The keyed orders for all sessions of a quiz, which are given in several steps.
create table quiz_orders (
  quiz_id   text           not null,
  key       text           not null,
  digest    text           not null,
  -- The time of the first call: later sessions are not covered.
  began_at  timestamptz(3) not null,
  -- The number of sessions that it has changed.
  changed   integer        not null default 0,
  -- Whether it has reached every session: then a repeat changes nothing.
  finished  boolean        not null default false,

  constraint quiz_orders_pkey primary key (quiz_id, key),
  constraint quiz_orders_changed_natural check (changed >= 0)
);
