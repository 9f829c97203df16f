"""Declares every statement, with the classes of its records and rows."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import attrs
from attrs import field
from orjson import Fragment

from session_service.sessions.models import (
    ClientId,
    ExternalId,
    OnExpiry,
    Session,
    SessionSummary,
    StatusCounts,
    Verdict,
)
from session_service.storage import statements
from session_service.storage.erasure_rows import ErasableCounts, MissingRight, RetentionTurn, SessionId
from session_service.storage.event_rows import (
    Backlogs,
    FeedPageRow,
    FeedRow,
    PlacedEvent,
    PlaceInput,
    UnplacedEvent,
)
from session_service.storage.export_rows import ExportRow, QuestionsRow
from session_service.storage.fence_rows import BegunFence, FencedBatch, FenceSize, OpenFence
from session_service.storage.order_rows import ChangedCount, OrderInput, QuizOrderRow, RunningSession
from session_service.storage.server_rows import ConnectionLimits, ConnectionSetting, Timeline, UnfitSetting
from session_service.storage.webhook_rows import AcceptedEvents, DueDelivery, RegisteredWebhook, WebhookLag

# Records have no slots, so that their `vars()` is encoded without a copy. The store sets `ordinality`, the
# index in the batch, and `must_queue` for each batch.


@attrs.define(slots=False)
class ReadInput:
    """A record of get_sessions: the session, and the reach of the request."""

    id: UUID
    owner: str | None
    quizzes: tuple[str, ...] = ()
    ordinality: int = 0


@attrs.define(slots=False)
class WriteInput:
    """A record of write_sessions: a change of one session.

    The kind is `save`, `complete`, or `close` for a request that changes nothing but an overdue session. A
    change applies only to one of `expected_versions`, to any version if that is None. With `must_queue` it is
    not applied, and the verdict is `busy`. The journal has the summary of a change, if there is one, instead
    of the change.
    """

    id: UUID
    owner: str | None
    kind: str
    change: Mapping[str, Any] = field(factory=dict)
    cleared_answers: tuple[str, ...] = ()
    cleared_annotations: tuple[str, ...] = ()
    current_question: ExternalId | None = None
    expected_versions: tuple[int, ...] | None = None
    key: str | None = None
    digest: str | None = None
    actor: Mapping[str, str] | None = None
    client_id: ClientId | None = None
    request_id: str | None = None
    trace_id: str | None = None
    summary: Mapping[str, Any] | None = None
    ordinality: int = 0
    must_queue: bool = False


@attrs.define(slots=False)
class StartInput:
    """A record of start_sessions: a new session or, with `resume`, the user's running session of the quiz.

    `time_limit_seconds` is 0 for a session without an end. `locked` is true under the lock of the user and
    the quiz, without which the statement starts no session that has a limit of attempts. `shown` are the
    fields of the session in its first line of the journal, but those that the statement decides.
    """

    id: UUID
    user_id: str
    quiz_id: ExternalId
    time_limit_seconds: int
    grace_seconds: int
    on_expiry: OnExpiry
    time_factor: float
    max_attempts: int | None
    metadata: Mapping[str, Any]
    key: str | None
    digest: str | None
    actor: Mapping[str, str]
    client_id: ClientId | None
    request_id: str
    trace_id: str | None
    shown: Mapping[str, Any]
    resume: bool
    locked: bool
    ordinality: int = 0


@attrs.define(slots=False)
class LockInput:
    """A record of lock_starts: the user and the quiz of a start."""

    user_id: str
    quiz_id: ExternalId
    ordinality: int


@attrs.frozen
class SessionRow(Session):
    """A session after a statement, with the verdict on one record of the batch.

    `checked_at` is the database's time of the verdict, `ordinality` the record's.
    """

    verdict: Verdict
    checked_at: datetime
    ordinality: int


@attrs.frozen
class HistoryRow:
    """A page of a session's journal, with what the session's row shows of it.

    `next_after` is the last version of the page if there are lines after it. An overdue session has to be
    ended by write_sessions first.
    """

    version: int
    first_version: int | None
    next_after: int | None
    items: Fragment
    expires_at: datetime | None
    overdue: bool
    checked_at: datetime


@attrs.frozen
class Lock:
    """The ordinality of a start whose lock was acquired."""

    ordinality: int


@attrs.frozen
class ChangedSession:
    """A session that was changed by another call or by the sweeper, and its version."""

    id: UUID
    version: int


@attrs.frozen
class ClockReading:
    """The database's time."""

    now: datetime


@attrs.frozen
class Migration:
    """An applied migration: a file of sql/schema, and the SHA-256 of its bytes in hexadecimal."""

    name: str
    checksum: str


@attrs.frozen
class DigestKey:
    """The key of the digests of idempotent writes, generated for this installation."""

    value: str


@attrs.frozen
class Probe:
    """A value of each PostgreSQL type in the statements."""

    text: str
    number: int
    moment: datetime
    id: UUID
    document: Fragment


configure = statements.many("configure", ConnectionSetting)
get_timeline = statements.one("get_timeline", Timeline)
allow_long_statements = statements.count("allow_long_statements")
set_tracked_settings = statements.count("set_tracked_settings")
set_search_path = statements.count("set_search_path")
name_settings = statements.count("name_settings")
store_settings = statements.count("store_settings")
mark_settings = statements.count("mark_settings")
end_connections = statements.count("end_connections")
end_own_connection = statements.count("end_own_connection")
list_unfit_settings = statements.many("list_unfit_settings", UnfitSetting)

get_sessions = statements.batch("get_sessions", ReadInput, SessionRow)
start_sessions = statements.batch("start_sessions", StartInput, SessionRow)
write_sessions = statements.batch("write_sessions", WriteInput, SessionRow)
order_sessions = statements.batch("order_sessions", OrderInput, SessionRow)
begin_quiz_order = statements.one("begin_quiz_order", QuizOrderRow)
advance_quiz_order = statements.one("advance_quiz_order", ChangedCount)
find_running_sessions = statements.many("find_running_sessions", RunningSession)
find_unplaced_sessions = statements.many("find_unplaced_sessions", ChangedSession)
lock_session = statements.count("lock_session")
lock_start = statements.count("lock_start")
lock_starts = statements.batch("lock_starts", LockInput, Lock)
count_sessions = statements.one("count_sessions", StatusCounts)
list_sessions = statements.many("list_sessions", SessionSummary)
export_sessions = statements.many("export_sessions", ExportRow)
list_answered_questions = statements.many("list_answered_questions", QuestionsRow)
list_session_events = statements.many("list_session_events", HistoryRow)
expire_sessions = statements.many("expire_sessions", ChangedSession)
lock_user_sessions = statements.many("lock_user_sessions", SessionId)
lock_ended_sessions = statements.many("lock_ended_sessions", SessionId)
lock_feed = statements.count("lock_feed")
take_retention_turn = statements.one("take_retention_turn", RetentionTurn)
erase_sessions = statements.many("erase_sessions", SessionId)
redact_actor = statements.count("redact_actor")
count_erasable = statements.one("count_erasable", ErasableCounts)
list_missing_rights = statements.many("list_missing_rights", MissingRight)
list_unplaced_events = statements.many("list_unplaced_events", UnplacedEvent)
place_events = statements.batch("place_events", PlaceInput, PlacedEvent)
trim_events = statements.many("trim_events", PlacedEvent)
get_event_feed = statements.one("get_event_feed", FeedRow)
list_events = statements.one("list_events", FeedPageRow)
lock_webhooks = statements.count("lock_webhooks")
register_webhook = statements.one("register_webhook", RegisteredWebhook)
accept_webhook_events = statements.many("accept_webhook_events", AcceptedEvents)
list_due_deliveries = statements.many("list_due_deliveries", DueDelivery)
finish_delivery = statements.count("finish_delivery")
postpone_delivery = statements.count("postpone_delivery")
disable_webhook = statements.count("disable_webhook")
enable_webhook = statements.count("enable_webhook")
forget_webhook = statements.count("forget_webhook")
measure_webhook_lag = statements.many("measure_webhook_lag", WebhookLag)
measure_backlogs = statements.one("measure_backlogs", Backlogs)
get_clock = statements.one("get_clock", ClockReading)
get_digest_key = statements.one("get_digest_key", DigestKey)
get_connection_limits = statements.one("get_connection_limits", ConnectionLimits)
ping = statements.one("ping", Probe)

lock_fence = statements.count("lock_fence")
count_service_connections = statements.count("count_service_connections")
measure_fence = statements.one("measure_fence", FenceSize)
list_open_fences = statements.many("list_open_fences", OpenFence)
begin_fence = statements.one("begin_fence", BegunFence)
fence_sessions = statements.one("fence_sessions", FencedBatch)
finish_fence = statements.count("finish_fence")

lock_migrations = statements.count("lock_migrations")
list_migrations = statements.many("list_migrations", Migration)
record_migration = statements.count("record_migration")
name_role = statements.count("name_role")
admit_role = statements.count("admit_role")
count_owned_tables = statements.count("count_owned_tables")
