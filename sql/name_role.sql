-- name: name_role :count
-- in:  name text, verifier text?
--
-- What admit_role is about, until the transaction ends: a block takes no parameters.
select
from (
  select
    set_config('session_service.role', %(name)s, true),
    set_config('session_service.verifier', coalesce(%(verifier)s::text, ''), true)
) as settings;
