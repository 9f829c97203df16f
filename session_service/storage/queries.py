"""The statements, and the types of their rows."""

from datetime import datetime
from uuid import UUID

import attrs
from orjson import Fragment

from session_service.sessions.models import Session, SessionSummary, Verdict
from session_service.storage import statements


@attrs.frozen
class SessionRow(Session):
    """A session as a statement found or left it, with its verdict on a request, by the database's clock.

    `ordinality` is the request's place among those that the statement was given.
    """

    verdict: Verdict
    checked_at: datetime
    ordinality: int


@attrs.frozen
class Lock:
    """The place of a start, among those that were to be locked, whose lock was free."""

    ordinality: int


@attrs.frozen
class Migration:
    """A file of sql/schema with the SHA-256 of its bytes."""

    name: str
    checksum: str


@attrs.frozen
class DigestKey:
    """The installation's own key for the digests of keyed writes."""

    value: str


@attrs.frozen
class UnfitSetting:
    """A setting of PostgreSQL with a value that the service cannot work with, and the value that it needs."""

    name: str
    value: str
    needed: str


@attrs.frozen
class Probe:
    """A value of each type that the statements use."""

    text: str
    number: int
    moment: datetime
    id: UUID
    document: Fragment


configure = statements.count("configure")
allow_long_statements = statements.count("allow_long_statements")
list_unfit_settings = statements.many("list_unfit_settings", UnfitSetting)

get_sessions = statements.many("get_sessions", SessionRow)
start_sessions = statements.many("start_sessions", SessionRow)
write_sessions = statements.many("write_sessions", SessionRow)
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
