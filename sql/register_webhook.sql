-- name: register_webhook :one
-- in:  name text, types text[]?, quiz_ids text[]?, digest text
-- out: disabled boolean, moved boolean
--
-- Stores the filters of an endpoint. One that is new begins at the end of the feed. `moved`: it is disabled, and has
-- another URL than the one that answered 410, by the SHA-256 of both.
insert into webhook_endpoints as w (name, types, quiz_ids, position)
select %(name)s::text, %(types)s::text[], %(quiz_ids)s::text[], newest
from event_feeds
where shard = 0
on conflict (name) do update
set types = excluded.types, quiz_ids = excluded.quiz_ids
returning
  w.disabled_at is not null as disabled,
  w.disabled_at is not null and w.disabled_digest is distinct from %(digest)s::text as moved;
