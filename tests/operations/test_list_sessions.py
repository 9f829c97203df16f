"""listSessions: GET /api/sessions."""

from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.support.issuer import SERVICE_SCOPE, bearer
from tests.support.service import Service, await_end

PATH = "/api/sessions"


def test_200_newest_first_without_answers(service: Service) -> None:
    """A list shows a session as it is read, but for its answers and its version."""
    user = f"user-{uuid4()}"
    started = [service.start(user_id=user) for _ in range(3)]
    service.save(started[0]["id"], 1, "x")
    service.complete(started[1]["id"])
    page = _page(service, user_id=user)
    assert [item["id"] for item in page["items"]] == [session["id"] for session in reversed(started)]
    assert page["next_cursor"] is None
    for item in page["items"]:
        session = service.read(item["id"]).json()
        assert item == {name: session[name] for name in session.keys() - {"answers", "version"}}


def test_200_page_by_page_while_sessions_start(service: Service) -> None:
    """Every session that was there is listed once, in order, whatever starts in between."""
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
    """Sessions of one moment have an order too, and a page may end between them."""
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
    here, elsewhere = service.start(user_id=user, quiz_id=quiz), service.start(user_id=user)
    another = service.start(quiz_id=quiz)
    service.complete(here["id"])
    for filters, found in (
        ({"user_id": user}, [elsewhere, here]),
        ({"quiz_id": quiz}, [another, here]),
        ({"user_id": user, "quiz_id": quiz}, [here]),
        ({"user_id": user, "status": "completed"}, [here]),
        ({"quiz_id": quiz, "status": "in_progress"}, [another]),
        ({"user_id": user, "status": "expired"}, []),
        ({"user_id": user.upper()}, []),
    ):
        assert [item["id"] for item in _page(service, **filters)["items"]] == [
            session["id"] for session in found
        ]
    assert len(_page(service)["items"]) > 2


def test_200_with_status_as_it_is_now(service: Service) -> None:
    """A session past its time is listed as expired at once, and no longer as in progress."""
    user = f"user-{uuid4()}"
    session = service.start(user_id=user, time_limit_seconds=3)
    assert len(_page(service, user_id=user, status="in_progress")["items"]) == 1
    await_end(session)
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
        {"quiz_id": "99999999999999999999"},
        {"user_id": ""},
        {"user_id": "\x00"},
        {"status": "running"},
        {"cursor": "x"},
        {"cursor": "!" * 30},
        {"page": "2"},
    ],
)
def test_400_names_the_parameter(service: Service, query: dict[str, str]) -> None:
    """A filter that does not fit the contract, or that it does not have, is refused."""
    reply = service.client.get(PATH, params=query)
    assert reply.status_code == 400
    (name,) = query
    assert {detail["path"] for detail in reply.json()["details"]} == {
        "query" if name == "page" else f"query.{name}"
    }


def test_200_for_any_cursor_of_the_right_form(service: Service) -> None:
    """A cursor that nobody was given names a place in the list, too."""
    for cursor in ("A" * 30, "_" * 30, "-" * 30):
        assert service.client.get(PATH, params={"cursor": cursor}).status_code == 200


def test_403_for_another_users(guarded: Service) -> None:
    """A learner's token does not ask for the sessions of others; a service's does."""
    asked = {"user_id": "grace"}
    assert guarded.client.get(PATH, params=asked, headers=bearer("ada")).status_code == 403
    assert guarded.client.get(PATH, params=asked, headers=bearer("grace")).status_code == 200
    assert (
        guarded.client.get(PATH, params=asked, headers=bearer("back-end", scope=SERVICE_SCOPE)).status_code
        == 200
    )


def test_413_over_256_kib(service: Service) -> None:
    """The limit on bodies holds for a request that needs none, too."""
    assert service.client.request("GET", PATH, content=b" " * (256 * 1024 + 1)).status_code == 413


def test_500_tells_nothing_but_the_request_id(broken_service: Service) -> None:
    """A bug is told in the contract's shape."""
    assert broken_service.client.get(PATH).status_code == 500


def test_503_without_postgresql(cut_off_service: Service) -> None:
    """Nothing is listed while the database is out of reach."""
    assert cut_off_service.client.get(PATH).json()["outcome"] == "not_applied"


def _page(service: Service, **query: Any) -> dict[str, Any]:
    reply = service.client.get(PATH, params=query)
    assert reply.status_code == 200, reply.text
    page: dict[str, Any] = reply.json()
    return page


def test_400_for_a_parameter_that_is_there_twice(service: Service) -> None:
    """Which of the two is meant is not guessed."""
    assert service.client.get(f"{PATH}?limit=1&limit=2").status_code == 400
