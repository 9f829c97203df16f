-- The secrets of this installation, for what the operator does not set: see DIGEST_KEY in README.md.
create table installation_secrets (
  name   text not null constraint installation_secrets_pkey primary key,
  value  text not null
);

-- 244 random bits: a UUID v4 has 122. pgcrypto would need a superuser.
insert into installation_secrets (name, value)
values ('digest_key', encode(sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')), 'hex'));

-- The digests of before had no key, so that a short answer could be found by trying. A session that has ended
-- needs none; those of running sessions go when they end.
update quiz_sessions
set recent_writes = '{}'
where status <> 'in_progress'
  and recent_writes <> '{}';
