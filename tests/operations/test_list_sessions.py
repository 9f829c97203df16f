"""listSessions: GET /api/sessions."""

from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.support.issuer import SERVICE_SCOPE, bearer
from tests.support.service import Service, await_expiry

PATH = "/api/sessions"


def test_200_newest_first_without_answers(service: Service) -> None:
    """A list shows sessions like a read, without answers, newest first."""
    user = f"user-{uuid4()}"
    started = [service.start(user_id=user) for _ in range(3)]
    service.save(started[0]["id"], 1, "x")
    service.complete(started[1]["id"])
    page = _page(service, user_id=user)
    assert [item["id"] for item in page["items"]] == [session["id"] for session in reversed(started)]
    assert page["next_cursor"] is None
    for item in page["items"]:
        session = service.read(item["id"]).json()
        shown = {name: value for name, value in item.items() if name not in ("answered", "client_ids")}
        assert shown == {name: session[name] for name in shown}
        assert not item.keys() & {"answers", "annotations"}


def test_200_paginates_while_sessions_start(service: Service) -> None:
    """Pagination lists every session once and in order while new sessions start."""
    user = f"user-{uuid4()}"
    started = [str(service.start(user_id=user)["id"]) for _ in range(11)]
    listed: list[str] = []
    page = _page(service, user_id=user, limit=3)
    while True:
        listed += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        service.start(user_id=user)
        page = _page(service, user_id=user, limit=3, cursor=page["next_cursor"])
    assert listed == started[::-1]


def test_200_in_the_order_of_ids_within_a_millisecond(service: Service, database: psycopg.Connection) -> None:
    """Sessions of the same millisecond are ordered by id, also across pages."""
    user = f"user-{uuid4()}"
    ids = sorted(str(service.start(user_id=user)["id"]) for _ in range(5))
    query = "update quiz_sessions set created_at = timestamptz '2026-01-01 00:00:00.123Z' where user_id = %s"
    database.execute(query, [user])
    first = _page(service, user_id=user, limit=2)
    second = _page(service, user_id=user, limit=3, cursor=first["next_cursor"])
    assert [item["id"] for item in first["items"] + second["items"]] == ids[::-1]
    assert second["next_cursor"] is None


def test_200_with_filters(service: Service) -> None:
    """Each filter narrows the list."""
    user, quiz = f"user-{uuid4()}", int(uuid4()) % 2_000_000_000 + 1
    both, other_quiz = service.start(user_id=user, quiz_id=quiz), service.start(user_id=user)
    other_user = service.start(quiz_id=quiz)
    service.complete(both["id"])
    for filters, found in (
        ({"user_id": user}, [other_quiz, both]),
        ({"quiz_id": quiz}, [other_user, both]),
        ({"user_id": user, "quiz_id": quiz}, [both]),
        ({"user_id": user, "status": "completed"}, [both]),
        ({"quiz_id": quiz, "status": "in_progress"}, [other_user]),
        ({"user_id": user, "status": "expired"}, []),
        ({"user_id": user.upper()}, []),
    ):
        assert [item["id"] for item in _page(service, **filters)["items"]] == [
            session["id"] for session in found
        ]
    assert len(_page(service)["items"]) > 2


def test_200_with_the_current_status(service: Service) -> None:
    """A session is listed as expired from its time limit on."""
    user = f"user-{uuid4()}"
    session = service.start(user_id=user, time_limit_seconds=3)
    assert len(_page(service, user_id=user, status="in_progress")["items"]) == 1
    await_expiry(session)
    (item,) = _page(service, user_id=user, status="expired")["items"]
    assert (item["id"], item["status"]) == (session["id"], "expired")
    assert _page(service, user_id=user, status="in_progress")["items"] == []


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "101"},
        {"limit": "1.0"},
        {"limit": "01"},
        {"limit": "x"},
        {"limit": ""},
        {"quiz_id": "0"},
        {"quiz_id": ""},
        {"quiz_id": "a\n"},
        {"user_id": ""},
        {"user_id": "\x00"},
        {"status": "running"},
        {"cursor": "x"},
        {"cursor": "!" * 30},
        {"page": "2"},
    ],
)
def test_400_names_the_parameter(service: Service, query: dict[str, str]) -> None:
    """An invalid or unknown parameter is rejected by name."""
    response = service.client.get(PATH, params=query)
    assert response.status_code == 400
    (name,) = query
    assert {detail["path"] for detail in response.json()["details"]} == {
        "query" if name == "page" else f"query.{name}"
    }


def test_200_for_any_well_formed_cursor(service: Service) -> None:
    """A well-formed cursor is accepted, even if no list returned it."""
    for cursor in ("A" * 30, "_" * 30, "-" * 30):
        assert service.client.get(PATH, params={"cursor": cursor}).status_code == 200


def test_403_for_sessions_of_another_user(service_with_tokens: Service) -> None:
    """A learner cannot list the sessions of another user; a service can."""
    query = {"user_id": "grace"}
    assert service_with_tokens.client.get(PATH, params=query, headers=bearer("ada")).status_code == 403
    assert service_with_tokens.client.get(PATH, params=query, headers=bearer("grace")).status_code == 200
    assert (
        service_with_tokens.client.get(
            PATH, params=query, headers=bearer("back-end", scope=SERVICE_SCOPE)
        ).status_code
        == 200
    )


def test_413_over_256_kib(service: Service) -> None:
    """A body over 256 KiB is rejected, even if the operation has no body."""
    assert service.client.request("GET", PATH, content=b" " * (256 * 1024 + 1)).status_code == 413


def test_500_reveals_only_the_request_id(service_without_table: Service) -> None:
    """An unexpected error has the contract's shape and no detail."""
    assert service_without_table.client.get(PATH).status_code == 500


def test_503_without_postgresql(service_without_postgresql: Service) -> None:
    """A list needs the database."""
    assert service_without_postgresql.client.get(PATH).json()["outcome"] == "not_applied"


def _page(service: Service, **query: Any) -> dict[str, Any]:
    response = service.client.get(PATH, params=query)
    assert response.status_code == 200, response.text
    page: dict[str, Any] = response.json()
    return page


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*"])
def test_304_for_an_unchanged_page(service: Service, form: str) -> None:
    """If-None-Match with the page's ETag gets 304 with that ETag and no body; another gets the page."""
    user = f"user-{uuid4()}"
    service.start(user_id=user)
    first = service.client.get(PATH, params={"user_id": user})
    known = {"if-none-match": form.format(first.headers["etag"])}
    second = service.client.get(PATH, params={"user_id": user}, headers=known)
    assert (second.status_code, second.content) == (304, b"")
    assert second.headers["etag"] == first.headers["etag"]
    other = {"if-none-match": f'"{32 * "0"}"'}
    assert service.client.get(PATH, params={"user_id": user}, headers=other).json() == first.json()


def test_400_for_a_duplicate_parameter(service: Service) -> None:
    """A duplicate parameter is rejected."""
    assert service.client.get(f"{PATH}?limit=1&limit=2").status_code == 400
