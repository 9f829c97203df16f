-- name: name_role :count
-- in:  name text, verifier text?, erases boolean
--
-- Sets the parameters of admit_role until the transaction ends: a DO block takes none.
select
from (
  select
    set_config('session_service.role', %(name)s, true),
    set_config('session_service.verifier', coalesce(%(verifier)s::text, ''), true),
    set_config('session_service.erases', (%(erases)s::boolean)::text, true)
) as settings;
