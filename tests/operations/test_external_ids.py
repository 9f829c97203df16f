"""Ids of quizzes and questions: integers and texts of any platform."""

import json
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.service import Service

LARGEST = 2**53 - 1
TEXTS = [
    "9f1c2b3a-0d4e-4f5a-8b6c-7d8e9f0a1b2c",
    "007",
    "00",
    "-1",
    "+7",
    "7.0",
    "7e0",
    " 7",
    "\uff17",
    "9007199254740992",
    "9007199254740993",
    "q1_1",
    "\U0001f600",
    "\U0001f600" * 128,
    "x" * 128,
    'a/b?c=d&e %41 +#"\\',
    "__proto__",
    "\u2028\ufeff",
]
WRONG_TEXTS = ["", "x" * 129, "\U0001f600" * 129, "a\0b", "a\nb", "\x1f", "\x7f", "\x80", "\x9f"]
WRONG = [*WRONG_TEXTS, -1, LARGEST + 1, 1.5, True, [], {}, 1e300]
FORMS_OF_7 = ["7", "7.0", "7e0", "70e-1", '"7"']


def _progress(session_id: object) -> str:
    return f"/api/sessions/{session_id}/progress"


def _raw(service: Service, method: str, path: str, text: str, **headers: str) -> httpx.Response:
    """Send a body as this text, in which a number keeps its form."""
    return service.client.request(
        method, path, content=text, headers={"content-type": "application/json", **headers}
    )


def _listed(service: Service, **filters: str) -> list[Any]:
    response = service.client.get("/api/sessions", params=filters)
    assert response.status_code == 200, response.text
    return [item["id"] for item in response.json()["items"]]


def _shown(session: dict[str, Any]) -> str:
    """Return the ids of a session as JSON text: 7 and 7.0 and "7" differ there."""
    return json.dumps([session["quiz_id"], session["current_question"], session["answers"]])


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_comes_back_as_it_is(service: Service, text: str) -> None:
    """A text id of a quiz and a question is returned unchanged, from the cache and from the database."""
    user = f"user-{uuid4()}"
    session_id = service.start(user_id=user, quiz_id=text)["id"]
    saved = service.client.put(_progress(session_id), json={"question_id": text, "answer": "x"})
    assert _shown(saved.json()) == json.dumps([text, text, {text: "x"}])
    for headers in ({}, {"cache-control": "no-cache"}):
        assert service.read(session_id, headers).json() == saved.json()
    assert _listed(service, user_id=user, quiz_id=text) == [session_id]
    body = {"answers": {text: "y"}, "annotations": {text: "z"}, "current_question": text}
    changed = service.client.patch(_progress(session_id), json=body).json()
    assert (changed["answers"], changed["annotations"]) == ({text: "y"}, {text: "z"})
    assert service.complete(session_id).json()["quiz_id"] == text


@pytest.mark.parametrize("number", [0, 1, 7, 2**31, LARGEST])
def test_an_integer_comes_back_as_an_integer(service: Service, number: int) -> None:
    """An integer id is returned as an integer, and is the key of its answer as a decimal."""
    quiz = number or 1
    session_id = service.start(quiz_id=quiz)["id"]
    saved = service.client.put(_progress(session_id), json={"question_id": number, "answer": "x"}).json()
    assert _shown(saved) == json.dumps([quiz, number, {str(number): "x"}])
    assert service.read(session_id, {"cache-control": "no-cache"}).json() == saved


def test_a_session_starts_at_question_0(service: Service) -> None:
    """The current question of a new session is the integer 0."""
    assert json.dumps(service.start(quiz_id="q")["current_question"]) == "0"


def test_all_forms_of_an_integer_are_one_question(service: Service) -> None:
    """An integer, the same number with a fraction of 0, and its decimal as a text are one question."""
    session_id = service.start()["id"]
    for count, form in enumerate(FORMS_OF_7, 1):
        body = f'{{"question_id":{form},"answer":{count}}}'
        saved = _raw(service, "PUT", _progress(session_id), body).json()
        assert _shown(saved) == json.dumps([7, 7, {"7": count}])
        service.save_many(session_id, {"1": "x"}, current_question=1)
        moved = _raw(service, "PATCH", _progress(session_id), f'{{"current_question":{form}}}').json()
        assert json.dumps(moved["current_question"]) == "7"
        service.save_many(session_id, {"1": None})
    cleared = service.save_many(session_id, {"7": None}).json()
    assert cleared["answers"] == {}


@pytest.mark.parametrize("number", [7, LARGEST])
def test_all_forms_of_an_integer_are_one_quiz(service: Service, number: int) -> None:
    """A resume finds the session, and a list shows it, by each form of the quiz's id."""
    user = f"user-{uuid4()}"
    session_id = service.start(user_id=user, quiz_id=number)["id"]
    service.start(user_id=user, quiz_id=f"0{number}")
    for form in (f"{number}", f"{number}.0", f'"{number}"'):
        body = f'{{"user_id":"{user}","quiz_id":{form},"if_active":"resume"}}'
        resumed = _raw(service, "POST", "/api/sessions/start", body)
        assert (resumed.status_code, resumed.json()["id"]) == (200, session_id)
        assert json.dumps(resumed.json()["quiz_id"]) == str(number)
    assert _listed(service, user_id=user, quiz_id=str(number)) == [session_id]


@pytest.mark.parametrize("form", FORMS_OF_7)
def test_a_repeat_may_have_another_form(service: Service, form: str) -> None:
    """A write that is repeated with its key and another form of the ids is a repeat, not another write."""
    user, key = f"user-{uuid4()}", {"idempotency-key": "k"}
    start = '{"user_id":"%s","quiz_id":%s}'
    first = _raw(service, "POST", "/api/sessions/start", start % (user, 7), **key)
    again = _raw(service, "POST", "/api/sessions/start", start % (user, form), **key)
    assert (first.status_code, again.status_code, again.json()) == (201, 200, first.json())
    session_id = first.json()["id"]
    for method, body in (
        ("PUT", '{"question_id":%s,"answer":"x"}'),
        ("PATCH", '{"answers":{"7":"y"},"current_question":%s}'),
    ):
        key = {"idempotency-key": method}
        saved = _raw(service, method, _progress(session_id), body % 7, **key)
        repeated = _raw(service, method, _progress(session_id), body % form, **key)
        assert (repeated.status_code, repeated.json()) == (200, saved.json())


@pytest.mark.parametrize("form", ["0", "0.0", "-0", "-0.0", '"0"'])
def test_0_is_a_question_and_no_quiz(service: Service, form: str) -> None:
    """The id 0 in any form is refused for a quiz, and accepted for a question."""
    refused = _raw(service, "POST", "/api/sessions/start", f'{{"user_id":"ada","quiz_id":{form}}}')
    assert refused.status_code == 400, refused.text
    assert {detail["path"] for detail in refused.json()["details"]} == {"body.quiz_id"}
    saved = _raw(
        service, "PUT", _progress(service.start()["id"]), f'{{"question_id":{form},"answer":"x"}}'
    ).json()
    assert _shown(saved) == json.dumps([7, 0, {"0": "x"}])


def test_0_is_no_quiz_of_a_list(service: Service) -> None:
    """A list of the sessions of quiz 0 is refused."""
    refused = service.client.get("/api/sessions", params={"quiz_id": "0"})
    assert (refused.status_code, refused.json()["details"][0]["path"]) == (400, "query.quiz_id")


@pytest.mark.parametrize("wrong", WRONG, ids=ascii)
def test_a_wrong_id_is_refused(service: Service, wrong: object) -> None:
    """An id that is neither such an integer nor such a text is refused with the name of its field."""
    session = service.start()
    path = _progress(session["id"])
    for method, place, body, field in (
        ("POST", "/api/sessions/start", {"user_id": "ada", "quiz_id": wrong}, "quiz_id"),
        ("PUT", path, {"question_id": wrong, "answer": "x"}, "question_id"),
        ("PATCH", path, {"current_question": wrong}, "current_question"),
    ):
        response = service.client.request(method, place, json=body)
        assert response.status_code == 400, response.text
        assert {detail["path"] for detail in response.json()["details"]} == {f"body.{field}"}
    assert service.read(session["id"], {"cache-control": "no-cache"}).json() == session


@pytest.mark.parametrize("wrong", WRONG_TEXTS, ids=ascii)
def test_a_wrong_key_is_refused(service: Service, wrong: str) -> None:
    """A key that is no text of 1 to 128 characters without control characters is refused."""
    session = service.start()
    for field in ("answers", "annotations"):
        for method, path in (("PATCH", "progress"), ("POST", "complete")):
            response = service.client.request(
                method, f"/api/sessions/{session['id']}/{path}", json={field: {"1": "x", wrong: "y"}}
            )
            assert response.status_code == 400, response.text
            assert response.json()["details"][0]["path"] == f"body.{field}"
    refused = service.client.get("/api/sessions", params={"quiz_id": wrong})
    assert (refused.status_code, refused.json()["details"][0]["path"]) == (400, "query.quiz_id")
    assert service.read(session["id"], {"cache-control": "no-cache"}).json() == session


def test_texts_are_not_normalised(service: Service) -> None:
    """Texts that Unicode regards as equivalent are two questions and two quizzes."""
    composed, decomposed = "\u00e9", "e\u0301"
    user = f"user-{uuid4()}"
    one, two = (
        service.start(user_id=user, quiz_id=quiz, if_active="resume")["id"] for quiz in (composed, decomposed)
    )
    assert _listed(service, user_id=user, quiz_id=composed) == [one]
    assert _listed(service, user_id=user, quiz_id=decomposed) == [two]
    saved = service.save_many(one, {composed: 1, decomposed: 2, "E\u0301": 3}).json()
    assert saved["answers"] == {composed: 1, decomposed: 2, "E\u0301": 3}
