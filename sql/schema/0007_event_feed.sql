-- The feed: the lines of the journal but saves, in the order in which they were committed.
--
-- A line without a position. The statement that writes the line adds it; place_events moves it to event_positions.
create table unplaced_events (
  -- The order of the statements: of one session, that of its versions.
  arrival     bigint   generated always as identity constraint unplaced_events_pkey primary key,
  session_id  uuid     not null,
  version     integer  not null
);

-- A line with its position. `type` and `quiz_id` are those of the line and its session, so that a reader with a filter
-- reads no line in vain; `bytes` is a bound of its length in a reply.
create table event_positions (
  position    bigint          not null constraint event_positions_pkey primary key,
  session_id  uuid            not null,
  version     integer         not null,
  type        text            not null,
  quiz_id     text            not null,
  bytes       integer         not null,
  placed_at   timestamptz(3)  not null
);

-- The feed's state: one row, which place_events and trim_events lock. Positions of another era mean nothing in this one.
create table event_feeds (
  shard    integer  not null constraint event_feeds_pkey primary key,
  era      uuid     not null,
  -- The last position that was given, and the last one that was deleted.
  newest   bigint   not null,
  trimmed  bigint   not null,

  constraint event_feeds_in_order check (0 <= trimmed and trimmed <= newest)
);

insert into event_feeds (shard, era, newest, trimmed)
values (0, gen_random_uuid(), 0, 0);
