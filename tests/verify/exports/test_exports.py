"""Tests of exports over time: flat memory, clients that stop reading, graceful shutdown, other requests."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest

from session_service.sessions.exports import MAX_EXPORTS
from tests.conftest import Urls
from tests.support.exports import PATH, fill, lines, records, rest, stalled
from tests.support.memory import peak_memory, reset_peak
from tests.support.raw_http import connected
from tests.support.service import Service, running
from tests.support.waiting import LIMIT, eventually

SERVERS = ("hypercorn", "uvicorn")
ATTEMPTS = 1_000
MEBIBYTE = 1024 * 1024


@pytest.fixture(scope="module")
def quizzes(migrated: Urls) -> Iterator[tuple[str, str]]:
    """A quiz with some attempts of 50 answers, and one with four times as many; the large one has 22 MB."""
    names = f"quiz-{uuid4()}", f"quiz-{uuid4()}"
    with psycopg.connect(migrated["MIGRATION_DATABASE_URL"], autocommit=True) as database:
        for quiz, count in zip(names, (ATTEMPTS, 4 * ATTEMPTS), strict=True):
            fill(database, quiz, count, answers=50, size=5_000)
        yield names
        database.execute("delete from quiz_sessions where quiz_id = any (%s)", [list(names)])


def _size(service: Service, query: str) -> int:
    """Request an export without keeping it; return its number of bytes."""
    size = 0
    with connected(service.url) as connection:
        connection.sendall(f"GET {PATH}?{query} HTTP/1.0\r\n\r\n".encode())
        while more := connection.recv(MEBIBYTE):
            size += len(more)
    return size


@pytest.mark.parametrize(("server", "form"), [("hypercorn", "csv"), ("uvicorn", "ndjson")])
def test_memory_does_not_grow_with_an_export(
    migrated: Urls, quizzes: tuple[str, str], server: str, form: str
) -> None:
    """An export of four times as many attempts needs as much memory."""
    with running(migrated, SERVER=server) as service:
        # The first export loads what all need.
        _size(service, f"format={form}&quiz_id={quizzes[0]}")
        sizes, peaks = [], []
        for quiz in quizzes:
            reset_peak(service.process.pid)
            sizes.append(_size(service, f"format={form}&quiz_id={quiz}"))
            peaks.append(peak_memory(service.process.pid))
        assert sizes[1] > 3.9 * sizes[0] > 15 * MEBIBYTE
        assert peaks[1] - peaks[0] < 4 * MEBIBYTE


@pytest.mark.parametrize("server", SERVERS)
def test_a_client_that_stops_reading_is_disconnected(
    migrated: Urls, quizzes: tuple[str, str], server: str
) -> None:
    """After ten seconds without reading the connection ends, and with it the export; memory is flat."""
    query = f"quiz_id={quizzes[1]}"
    with running(migrated, SERVER=server) as service:
        _size(service, f"quiz_id={quizzes[0]}")
        reset_peak(service.process.pid)
        before = peak_memory(service.process.pid)
        clients = [stalled(service, query) for _ in range(MAX_EXPORTS)]
        connections = [client.__enter__() for client in clients]
        assert service.client.get(PATH, params={"quiz_id": "none"}).status_code == 503
        eventually(lambda: service.client.get(PATH, params={"quiz_id": "none"}).status_code == 200)
        eventually(lambda: all(one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) for one in connections[:1]))
        assert peak_memory(service.process.pid) - before < 8 * MEBIBYTE
        for client in clients:
            client.__exit__(None, None, None)


@pytest.mark.parametrize("server", SERVERS)
def test_graceful_shutdown_ends_in_spite_of_a_client_that_does_not_read(
    migrated: Urls, quizzes: tuple[str, str], server: str
) -> None:
    """A process that is stopped ends, and the client sees that its export is not whole, also in HTTP/1.0."""
    with (
        running(migrated, SERVER=server) as service,
        stalled(service, f"quiz_id={quizzes[1]}", "1.0") as connection,
    ):
        service.process.terminate()
        assert service.process.wait(LIMIT) == 0
        with pytest.raises(ConnectionResetError):
            rest(connection)


@pytest.mark.parametrize("server", SERVERS)
def test_graceful_shutdown_breaks_a_running_export_off(
    migrated_database: tuple[Urls, psycopg.Connection], server: str
) -> None:
    """An export that runs for longer ends before the process is stopped, which logs that it was not whole."""
    urls, database = migrated_database
    fill(database, "large", 20, size=900_000)
    with (
        running(urls, SERVER=server) as service,
        stalled(service, "quiz_id=large") as connection,
    ):
        with database.transaction():
            # The pages wait for the lock, and are read again.
            database.execute("lock table quiz_sessions in access exclusive mode")
            service.process.terminate()
            with pytest.raises(ConnectionResetError):
                rest(connection)
        assert service.process.wait(LIMIT) == 0
        assert "was broken off" in service.log.read_text()


def _waits(database: psycopg.Connection) -> bool:
    """Return whether the statement of a page waits for a lock."""
    database.execute("select pg_stat_clear_snapshot()")
    query = "select from pg_stat_activity where wait_event_type = 'Lock' and query like %s"
    return bool(database.execute(query, ["%name: export_sessions%"]).rowcount)


def test_an_export_survives_a_short_fault(migrated_database: tuple[Urls, psycopg.Connection]) -> None:
    """A page that the database has refused is read again, so that the export is whole."""
    urls, database = migrated_database
    fill(database, "large", 20, size=900_000)
    with running(urls) as service, stalled(service, "quiz_id=large&format=ndjson", "1.0") as connection:
        # The lock is released before the pool waits for the export.
        with ThreadPoolExecutor() as pool, database.transaction():
            # A statement waits for the lock for two seconds.
            database.execute("lock table quiz_sessions in access exclusive mode")
            export = pool.submit(rest, connection)
            eventually(lambda: _waits(database))
            eventually(lambda: not _waits(database))
        assert export.result().count(b'"status":"in_progress"') == 20


# Each session that is completed takes a tenth of a second to read.
_SLOW = """
    alter table quiz_sessions rename to stored_sessions;
    create function read_slowly(answers jsonb) returns jsonb language plpgsql stable cost 1000 as $$
    begin
      perform pg_sleep(0.1);
      return answers;
    end
    $$;
    create view quiz_sessions as
    select
      id, user_id, quiz_id, current_question, status, started_at, expires_at, closes_at, last_saved_at,
      completed_at, created_at, updated_at, version, annotations, late_saves, paused_at, ended_by, on_expiry,
      attempt, metadata,
      case when status = 'completed' then read_slowly(answers) else answers end as answers
    from stored_sessions;
    grant select on quiz_sessions to session_service;
"""


def test_a_page_that_takes_too_long_is_read_in_parts(
    migrated_database: tuple[Urls, psycopg.Connection],
) -> None:
    """Many sessions that are skipped let a page grow; slow ones behind them do not end the export."""
    urls, database = migrated_database
    fill(database, "exam", 60)
    database.execute(
        "update quiz_sessions set status = 'completed', ended_by = 'learner', completed_at = now()"
    )
    database.execute("update quiz_sessions set created_at = created_at - interval '1 day'")
    fill(database, "exam", 240)
    with running(urls) as service:
        database.execute(_SLOW)
        assert len(lines(service, quiz_id="exam", status="completed")) == 60


def test_each_session_is_exported_once_while_others_change(
    migrated: Urls, database: psycopg.Connection
) -> None:
    """While sessions start, change and end, each that existed before is in an export once."""
    quiz = f"quiz-{uuid4()}"
    fill(database, quiz, 3_000, answers=5, size=500)
    choice = "select id from quiz_sessions where quiz_id = %s"
    ids = {str(found) for (found,) in database.execute(choice, [quiz])}
    over = threading.Event()
    changed: list[int] = []

    def change(service: Service, some: list[str]) -> None:
        for session_id in some:
            if over.is_set():
                return
            service.start(quiz_id=quiz)
            changed.append(service.save(session_id, 1, "changed").status_code)
            changed.append(service.complete(session_id).status_code)

    with running(migrated) as service:
        ordered = sorted(ids)
        workers = [threading.Thread(target=change, args=(service, ordered[n::4])) for n in range(4)]
        for worker in workers:
            worker.start()
        try:
            for exported in (lines, records, lines, records):
                found = [one["id"] for one in exported(service, quiz_id=quiz)]
                assert len(found) == len(set(found))
                assert ids <= set(found)
        finally:
            over.set()
            for worker in workers:
                worker.join()
    assert set(changed) == {200}
