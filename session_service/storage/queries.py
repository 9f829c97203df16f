"""The list of statements: name, cardinality, row."""

from session_service.sessions.models import (
    DigestKey,
    Judged,
    Lock,
    Migration,
    Probe,
    SessionSummary,
    UnfitSetting,
)
from session_service.storage import statements

configure = statements.count("configure")
allow_long_statements = statements.count("allow_long_statements")
list_unfit_settings = statements.many("list_unfit_settings", UnfitSetting)

get_sessions = statements.many("get_sessions", Judged)
start_sessions = statements.many("start_sessions", Judged)
write_sessions = statements.many("write_sessions", Judged)
lock_session = statements.count("lock_session")
lock_start = statements.count("lock_start")
lock_starts = statements.many("lock_starts", Lock)
list_sessions = statements.many("list_sessions", SessionSummary)
expire_sessions = statements.count("expire_sessions")
get_digest_key = statements.one("get_digest_key", DigestKey)
ping = statements.one("ping", Probe)

list_migrations = statements.many("list_migrations", Migration)
record_migration = statements.count("record_migration")
name_role = statements.count("name_role")
admit_role = statements.count("admit_role")
count_owned_tables = statements.count("count_owned_tables")
