"""pauseSessions: POST /api/sessions/pause."""

from uuid import uuid4

from tests.support.orders import order_quiz
from tests.support.service import Service


def test_200_pauses_and_resumes_a_whole_quiz(service: Service) -> None:
    """After a pause every session is paused, in reads and in the cache; after a resumption every one runs."""
    quiz = f"quiz-{uuid4()}"
    ids = [service.start(quiz_id=quiz)["id"] for _ in range(3)]
    tags = [{"if-none-match": service.read(session_id).headers["etag"]} for session_id in ids]
    for kind, status in (("pause", "paused"), ("resume", "in_progress")):
        assert order_quiz(service, kind, {"quiz_id": quiz}).json()["changed"] == 3
        seen = [service.read(session_id, tag) for session_id, tag in zip(ids, tags, strict=True)]
        assert [(reply.status_code, reply.json()["status"]) for reply in seen] == [(200, status)] * 3
