-- Webhooks: how far each endpoint of the settings has come in the feed, and the events that wait to be sent to it.
-- No personal data: an event is read from the journal each time it is sent.
create table webhook_endpoints (
  name             text            not null constraint webhook_endpoints_pkey primary key,
  -- Null: all.
  types            text[],
  quiz_ids         text[],
  -- Each event of the feed up to this position is sent, given up, or in webhook_deliveries.
  position         bigint          not null,
  -- Since the endpoint has answered 410, with the SHA-256 of the URL that did. Another URL enables it again.
  disabled_at      timestamptz(3),
  disabled_digest  text
);

-- An event that waits to be sent, for the first time or again. A row whose line of the journal was erased is deleted
-- instead of sent; with webhook_deliveries_session the rows of a session are found. There is no foreign key to the
-- journal: the statements on this table lock its rows alone, several only in the order of (webhook, position), so
-- that a transaction that deletes rows in this order waits for them at most, without a deadlock.
create table webhook_deliveries (
  webhook     text            not null,
  position    bigint          not null,
  session_id  uuid            not null,
  version     integer         not null,
  placed_at   timestamptz(3)  not null,
  attempts    integer         not null default 0,
  -- The first failure.
  failed_at   timestamptz(3),
  next_at     timestamptz(3)  not null,

  constraint webhook_deliveries_pkey primary key (webhook, position),
  constraint webhook_deliveries_endpoint foreign key (webhook) references webhook_endpoints (name) on delete cascade
);

create index webhook_deliveries_session on webhook_deliveries (session_id, webhook, position);
