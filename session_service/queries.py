"""The list of statements: name, cardinality, row."""

from session_service import sql
from session_service.models import DigestKey, Judged, Lock, Migration, Probe, SessionSummary, UnfitSetting

configure = sql.count("configure")
allow_long_statements = sql.count("allow_long_statements")
list_unfit_settings = sql.many("list_unfit_settings", UnfitSetting)

get_sessions = sql.many("get_sessions", Judged)
start_sessions = sql.many("start_sessions", Judged)
write_sessions = sql.many("write_sessions", Judged)
lock_session = sql.count("lock_session")
lock_start = sql.count("lock_start")
lock_starts = sql.many("lock_starts", Lock)
list_sessions = sql.many("list_sessions", SessionSummary)
expire_sessions = sql.count("expire_sessions")
get_digest_key = sql.one("get_digest_key", DigestKey)
ping = sql.one("ping", Probe)

list_migrations = sql.many("list_migrations", Migration)
record_migration = sql.count("record_migration")
name_role = sql.count("name_role")
admit_role = sql.count("admit_role")
count_owned_tables = sql.count("count_owned_tables")
