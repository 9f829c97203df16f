"""The list of statements: name, cardinality, row."""

from session_service import sql
from session_service.models import Durability, Judged, Migration, SessionSummary

get_session = sql.maybe("get_session", Judged)
start_session = sql.maybe("start_session", Judged)
write_session = sql.maybe("write_session", Judged)
lock_starts = sql.count("lock_starts")
list_sessions = sql.many("list_sessions", SessionSummary)
expire_sessions = sql.count("expire_sessions")
get_durability = sql.one("get_durability", Durability)
ping = sql.count("ping")

list_migrations = sql.many("list_migrations", Migration)
record_migration = sql.count("record_migration")
