"""Records of the statements, for their tests."""

from datetime import UTC, datetime
from uuid import UUID

from session_service.sessions.models import ClientId, ExternalId
from session_service.storage.event_rows import PlaceInput
from session_service.storage.order_rows import OrderInput
from session_service.storage.queries import LockInput, ReadInput, StartInput, WriteInput

ID = UUID("fedcba98-7654-4321-8fed-cba987654321")
# A record for each statement with records, without a null.
RECORDS = {
    "get_sessions": ReadInput(ID, "ada", ("7",), 3),
    "place_events": PlaceInput(2**40),
    "lock_starts": LockInput("ada", ExternalId("7"), 3),
    "start_sessions": StartInput(
        id=ID,
        user_id="ada",
        quiz_id=ExternalId("7"),
        time_limit_seconds=60,
        grace_seconds=5,
        on_expiry="complete",
        time_factor=1.5,
        max_attempts=2,
        metadata={"course": "é"},
        key="k",
        digest="d",
        actor={"type": "learner", "subject": "ada"},
        client_id=ClientId("tab"),
        request_id="r",
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        shown={"quiz_id": 7},
        resume=True,
        locked=True,
        ordinality=3,
    ),
    "order_sessions": OrderInput(
        id=ID,
        kind="deadline",
        expires_at=datetime(2026, 11, 23, 9, 45, tzinfo=UTC),
        extra_seconds=-60,
        time_limit_seconds=0,
        expected_versions=(1, 2),
        reason="é",
        key="k",
        digest="d",
        actor={"type": "staff", "subject": "é"},
        client_id=ClientId("tab-1"),
        request_id="r",
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        brief=True,
        ordinality=3,
        must_queue=True,
    ),
    "write_sessions": WriteInput(
        id=ID,
        owner="ada",
        kind="complete",
        change={"answers": {"1": "é"}, "annotations": {"3": [None]}},
        cleared_answers=("2",),
        cleared_annotations=("4",),
        current_question=ExternalId("5"),
        expected_versions=(1, 2),
        key="k",
        digest="d",
        actor={"type": "learner", "subject": "ada"},
        client_id=ClientId("tab"),
        request_id="r",
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        summary={"answer_digests": {}},
        ordinality=3,
        must_queue=True,
    ),
}
