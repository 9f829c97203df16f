-- name: get_digest_key :one
-- out: value text
--
-- Returns the digest key that migration 0002_digest_key has generated.
select value
from installation_secrets
where name = 'digest_key';
