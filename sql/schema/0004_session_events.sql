-- The journal: a line for each change of a session, written by the statement that makes the change. The service's role
-- may insert and select. A session that is older than this table has no lines from that time.
create table session_events (
  session_id  uuid           not null,
  -- The session's version since the change.
  version     integer        not null,
  type        text           not null,
  at          timestamptz(3) not null,
  -- `type`, and `subject` and `acting` of a token.
  actor       jsonb          not null,
  -- Both null for a change by the service itself.
  client_id   text,
  request_id  text,
  -- The change: with the lines before it, it gives the session.
  data        jsonb          not null,

  -- No foreign key: a line outlives its session, and the check would cost each save a look-up.
  constraint session_events_pkey primary key (session_id, version),
  constraint session_events_version_positive check (version >= 1)
);

-- As for answers: lz4 takes a third of the time for a line of 7 KiB. A server may be built without it.
do $$
begin
  alter table session_events alter column data set compression lz4;
exception
  when feature_not_supported then null;
end
$$;
