-- name: get_digest_key :one
-- out: value text
select value
from installation_secrets
where name = 'digest_key';
