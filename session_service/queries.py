"""The list of statements: name, cardinality, row."""

from session_service import sql
from session_service.models import Judged, Migration

get_session = sql.maybe("get_session", Judged)
start_session = sql.one("start_session", Judged)
write_session = sql.maybe("write_session", Judged)
ping = sql.count("ping")

list_migrations = sql.many("list_migrations", Migration)
record_migration = sql.count("record_migration")
