"""exportAnswers: GET /api/sessions/export."""

import json
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import attrs
import psycopg
import pytest
from redis import Redis

from session_service.sessions.csv_table import MAX_QUESTIONS
from session_service.sessions.exports import MAX_EXPORTS
from session_service.sessions.models import SessionSummary
from tests.conftest import Urls
from tests.operations.test_list_sessions_items import CHANGE
from tests.support.ageing import lock_overdue
from tests.support.exports import PATH, fill, lines, records, stalled, table
from tests.support.issuer import bearer
from tests.support.orders import given
from tests.support.service import Service, running
from tests.support.waiting import eventually

ANSWERS: dict[str, Any] = {
    "10": "ten",
    "2": 'Grüße,\r\n"Ä"',
    "minus": -5,
    "sum": "=1+1",
    "id": "12345678901234567",
    "empty": "",
    "no": False,
    "list": [1, {"a": None}],
    "float": 1.5,
    "digits": "007",
}
FORMULAS = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "\uff1d1",
    "\uff0b1",
    "\uff0d1",
    "\uff201",
]


def _listed(service: Service, **query: Any) -> list[dict[str, Any]]:
    """Return the sessions of all pages of a list with answers."""
    found: list[dict[str, Any]] = []
    query |= {"include": "answers", "limit": 100}
    while query.get("cursor", "first"):
        page = service.client.get("/api/sessions", params=query).json()
        found += page["items"]
        query["cursor"] = page["next_cursor"]
    return found


def test_200_with_the_sessions_of_the_list(service: Service) -> None:
    """Lines of JSON are the sessions of the list with include=answers, in its order, whatever their state."""
    quiz = f"quiz-{uuid4()}"
    ids = [service.start(quiz_id=quiz, metadata={"seat": n})["id"] for n in range(5)]
    service.save_many(ids[0], ANSWERS, annotations={"10": {"sure": 0.5}})
    service.complete(ids[1])
    given(service, "pause", ids[2])
    given(service, "deadline", ids[3], extra_seconds=-86_400)
    exported = lines(service, quiz_id=quiz)
    assert exported == _listed(service, quiz_id=quiz)
    assert [line["id"] for line in exported] == ids[::-1]
    assert exported[4]["answers"] == ANSWERS
    assert exported[4]["annotations"] == {"10": {"sure": 0.5}}


def test_200_with_each_session_once(service: Service, database: psycopg.Connection) -> None:
    """An export of many pages has each session once, also of those that were started in one millisecond."""
    quiz = f"quiz-{uuid4()}"
    fill(database, quiz, 1_500, answers=3, size=300)
    exported = [line["id"] for line in lines(service, quiz_id=quiz)]
    assert exported == [item["id"] for item in _listed(service, quiz_id=quiz)]
    assert len(set(exported)) == 1_500
    assert [record["id"] for record in records(service, quiz_id=quiz)] == exported


def test_200_with_large_sessions(service: Service, database: psycopg.Connection) -> None:
    """Sessions that are larger than a page are exported like others."""
    quiz = f"quiz-{uuid4()}"
    fill(database, quiz, 5, size=900_000)
    assert {len(line["answers"]["1"]) for line in lines(service, quiz_id=quiz)} == {900_000}
    assert [len(record["answers.1"]) for record in records(service, quiz_id=quiz)] == 5 * [900_000]


def test_200_with_filters(service: Service) -> None:
    """Filters are those of the list: user, quiz and status, by the clock, in each combination."""
    quiz, user = f"quiz-{uuid4()}", f"user-{uuid4()}"
    ids = [service.start(quiz_id=quiz, user_id=user)["id"] for _ in range(3)]
    service.start(quiz_id=quiz)
    service.start(user_id=user)
    service.complete(ids[1])
    queries: list[dict[str, Any]] = [
        {"quiz_id": quiz},
        {"user_id": user},
        {"quiz_id": quiz, "user_id": user},
        {"quiz_id": quiz, "status": "completed"},
        {"user_id": user, "status": "in_progress"},
        {"quiz_id": quiz, "status": "paused"},
    ]
    for query in queries:
        listed = [item["id"] for item in _listed(service, **query)]
        assert [line["id"] for line in lines(service, **query)] == listed
        assert [record["id"] for record in records(service, **query)] == listed
    assert table(service, quiz_id=f"x-{quiz}")[1:] == []
    assert lines(service, quiz_id=f"x-{quiz}") == []


def test_200_with_few_sessions_of_the_status(service: Service, database: psycopg.Connection) -> None:
    """With a status that few sessions have, the pages between them are read, too."""
    quiz = f"quiz-{uuid4()}"
    fill(database, quiz, 400)
    choice = "select id from quiz_sessions where quiz_id = %s order by created_at, id"
    ids = [str(found) for (found,) in database.execute(choice, [quiz])]
    for session_id in (ids[0], ids[200]):
        service.complete(session_id, answers={"last": 1})
    service.save(ids[100], 55, "of a session with another status")
    exported = records(service, quiz_id=quiz, status="completed")
    assert [record["id"] for record in exported] == [ids[200], ids[0]]
    assert [name for name in exported[0] if name.startswith("answers.")] == ["answers.1", "answers.last"]


def test_200_with_columns(service: Service) -> None:
    """CSV has a column for each field and each question; numbers are bare, and other values are in quotes."""
    quiz = f"quiz-{uuid4()}"
    first = service.start(quiz_id=quiz, user_id="12345678901234567", metadata={"seat": 14})["id"]
    service.start(quiz_id=quiz, user_id=f"user-{uuid4()}")
    service.save_many(first, ANSWERS, annotations={"2": "later"})
    (item,) = (one for one in _listed(service, quiz_id=quiz) if one["id"] == first)
    response = service.client.get(PATH, params={"quiz_id": quiz})
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.text.count("\r\n") == 4, "three records, and a line break in an answer"
    (record,) = (one for one in records(service, quiz_id=quiz) if one["id"] == first)
    names = [name for name in record if name.startswith("answers.")]
    numbers, others = ["2", "10"], sorted(ANSWERS.keys() - {"2", "10"})
    assert names == [f"answers.{question}" for question in numbers + others]
    shown = {name: record[f"answers.{name}"] for name in ANSWERS}
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in ANSWERS.items()}
    assert shown == texts | {"sum": "'=1+1", "list": '[1,{"a":null}]'}
    for name in ("id", "user_id", "status", "started_at", "expires_at", "updated_at", "version", "answered"):
        assert record[name] == str(item[name])
    assert (record["other"], record["ended_by"], record["attempt"]) == ("", "", "")
    assert (record["annotations"], record["metadata"]) == ('{"2":"later"}', '{"seat":14}')
    # Bare: -5 is a number and no formula; in quotes: texts of digits; nothing: no answer.
    for cell in (",-5,", ",1.5,", ',"12345678901234567",', ',"007",', ',"",', ',"false",'):
        assert cell in response.text


def test_200_with_a_column_for_every_field(service: Service) -> None:
    """Each field of a session in a list has a column, or columns."""
    header = table(service, user_id=f"user-{uuid4()}")[0]
    fields = {field.name for field in attrs.fields(SessionSummary)}
    assert {*header} == (fields | {"other"}) - {"answers"}


@pytest.mark.parametrize("formula", FORMULAS, ids=ascii)
def test_200_without_formulas(service: Service, formula: str) -> None:
    """A text that a spreadsheet would take for a formula begins with an apostrophe (CSV injection)."""
    quiz, user = f"{formula.strip()}{uuid4()}", f"{formula}{uuid4()}"
    first = service.start(quiz_id=quiz, user_id=user)["id"]
    question = f"{formula.strip()}"
    service.save_many(first, {question: formula, "json": [formula]})
    (record,) = records(service, user_id=user)
    assert (record["quiz_id"], record["user_id"]) == (f"'{quiz}", f"'{user}")
    assert record[f"answers.{question}"] == f"'{formula}"
    assert json.loads(record["answers.json"]) == [formula]


def test_200_with_questions_named_like_columns(service: Service) -> None:
    """Questions whose ids are the names of other columns have columns of their own."""
    quiz = f"quiz-{uuid4()}"
    session_id = service.start(quiz_id=quiz)["id"]
    header = table(service, quiz_id=quiz)[0]
    answers = {name: f"answer {name}" for name in [*header, "answers.id"]}
    service.save_many(session_id, answers)
    (record,) = records(service, quiz_id=quiz)
    assert len(record) == len(header) + len(answers)
    assert record["id"] == session_id
    assert {name: record[f"answers.{name}"] for name in answers} == answers


def test_200_with_other_answers(service: Service) -> None:
    """Beyond 2000 questions answers are in one column, as JSON; each answer is in the row once."""
    quiz = f"quiz-{uuid4()}"
    answers = [{str(n): n for n in range(first, first + 1_200)} for first in (0, 1_200)]
    for some in answers:
        session_id = service.start(quiz_id=quiz)["id"]
        for first in range(0, len(some), 400):
            part = {name: value for name, value in some.items() if first <= value % 1_200 < first + 400}
            assert service.save_many(session_id, part).status_code == 200
    new, old = records(service, quiz_id=quiz)
    assert sum(name.startswith("answers.") for name in new) == MAX_QUESTIONS
    for record, saved in ((new, answers[1]), (old, answers[0])):
        columns = {
            name.removeprefix("answers."): int(value)
            for name, value in record.items()
            if name.startswith("answers.") and value
        }
        other = json.loads(record["other"] or "{}")
        assert columns.keys().isdisjoint(other)
        assert columns | other == saved


def test_200_of_an_overdue_session_without_a_version(service: Service, migrated: Urls) -> None:
    """An overdue session is shown as ended, without a version, until its end is stored."""
    with psycopg.connect(migrated["MIGRATION_DATABASE_URL"]) as holder:
        quiz = f"quiz-{uuid4()}"
        session_id = lock_overdue(service, holder, quiz_id=quiz)
        (line,) = (one for one in lines(service, quiz_id=quiz, status="expired") if one["id"] == session_id)
        record = next(one for one in records(service, quiz_id=quiz) if one["id"] == session_id)
        holder.rollback()
    assert (line["version"], line["ended_by"]) == (None, "deadline")
    assert (record["status"], record["version"], record["ended_by"]) == ("expired", "", "deadline")


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_no_read_is_older_than_the_export_before(
    service: Service, database: psycopg.Connection, cache: Redis, form: str
) -> None:
    """Once an export has shown a version, no read of the session is older, also from the cache."""
    quiz = f"quiz-{uuid4()}"
    session_id = service.start(quiz_id=quiz)["id"]
    database.execute(CHANGE, [session_id])
    assert service.read(session_id).json()["version"] == 1
    service.client.get(PATH, params={"quiz_id": quiz, "format": form})
    assert str(cache.getrange(f"session:{session_id}", 0, 4)) == "b's1 2 '"
    assert service.read(session_id).json()["version"] == 2


def test_200_to_head(service: Service) -> None:
    """HEAD gets the headers of the export, and no body."""
    for form, suffix in (("csv", "csv"), ("ndjson", "ndjson")):
        response = service.client.head(PATH, params={"format": form})
        assert response.status_code == 200
        assert response.headers["content-disposition"] == f'attachment; filename="answers.{suffix}"'
    assert service.client.get("/health").status_code == 200


def test_200_for_a_proctor(service_with_tokens: Service) -> None:
    """A proctor's export has the sessions of its quizzes, each once, and with a filter only those."""
    service, quizzes = service_with_tokens, [f"quiz-{uuid4()}" for _ in range(3)]
    back_end = bearer("back-end", scope="sessions:any")
    for quiz in quizzes:
        for user in ("teacher", "ada"):
            body = {"user_id": user, "quiz_id": quiz}
            assert service.client.post("/api/sessions/start", json=body, headers=back_end).status_code == 201
    teacher = bearer("teacher", scope="sessions:proctor", quiz_ids=quizzes[:2])

    def exported(**query: Any) -> list[tuple[str, str]]:
        return sorted((line["quiz_id"], line["user_id"]) for line in lines(service, teacher, **query))

    own = sorted((quiz, user) for quiz in quizzes[:2] for user in ("teacher", "ada"))
    assert exported() == own
    assert exported(user_id="ada") == [pair for pair in own if pair[1] == "ada"]
    assert exported(quiz_id=quizzes[1]) == [pair for pair in own if pair[0] == quizzes[1]]
    assert exported(quiz_id=quizzes[2]) == exported(quiz_id=quizzes[2], user_id="teacher") == []
    assert lines(service, bearer("teacher", scope="sessions:proctor", quiz_ids="x")) == []


@pytest.mark.parametrize(
    "query",
    [
        {"format": "xlsx"},
        {"format": ""},
        {"status": "done"},
        {"quiz_id": "0"},
        {"user_id": ""},
        {"limit": "1"},
    ],
    ids=json.dumps,
)
def test_400_names_the_parameter(service: Service, query: dict[str, str]) -> None:
    """An invalid parameter is rejected by name."""
    response = service.client.get(PATH, params=query)
    assert response.status_code == 400
    (name,) = query
    shown = "query" if name == "limit" else f"query.{name}"
    assert [detail["path"] for detail in response.json()["details"]] == [shown]


def test_403_for_a_learner(service_with_tokens: Service) -> None:
    """A learner's token gets no export, not of its own sessions either."""
    for query in ({}, {"user_id": "ada"}, {"format": "ndjson"}):
        response = service_with_tokens.client.get(PATH, params=query, headers=bearer("ada"))
        assert response.status_code == 403


def test_413_over_256_kib(service: Service) -> None:
    """A body over 256 KiB is rejected, even if the operation has no body."""
    assert service.client.request("GET", PATH, content=b" " * (256 * 1024 + 1)).status_code == 413


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_500_reveals_only_the_request_id(service_without_table: Service, form: str) -> None:
    """An error before the first byte has the contract's shape and no detail."""
    assert service_without_table.client.get(PATH, params={"format": form}).status_code == 500


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_503_without_postgresql(service_without_postgresql: Service, form: str) -> None:
    """An export needs the database; without it, it does not begin."""
    response = service_without_postgresql.client.get(PATH, params={"format": form})
    assert (response.status_code, response.json()["outcome"]) == (503, "not_applied")


@pytest.mark.parametrize("server", ["hypercorn", "uvicorn"])
def test_503_beyond_the_exports_at_a_time(migrated: Urls, database: psycopg.Connection, server: str) -> None:
    """While four clients do not read on, another export is 503 with Retry-After, and saves are served.

    The exports hold no connection to the database, of which the service has one. Once a client has gone,
    another export may follow.
    """
    quiz = f"quiz-{uuid4()}"
    fill(database, quiz, 20, size=900_000)
    with running(migrated, DATABASE_POOL_SIZE="1", SERVER=server) as service:
        with ExitStack() as clients:
            for _ in range(MAX_EXPORTS):
                clients.enter_context(stalled(service, f"quiz_id={quiz}"))
            response = service.client.get(PATH)
            assert (response.status_code, response.headers["retry-after"]) == (503, "10")
            for number in range(20):
                assert service.save(service.start()["id"], number, "x").status_code == 200
        query = {"quiz_id": f"x-{quiz}"}
        eventually(lambda: service.client.get(PATH, params=query).status_code == 200)
        given_up = "was given up by its client"
        eventually(lambda: service.log.read_text().count(given_up) == MAX_EXPORTS)
