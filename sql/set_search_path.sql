-- name: set_search_path :count
-- in:  path text
--
-- Sets the search_path until the transaction ends.
select
from (select set_config('search_path', %(path)s::text, true)) as setting;
