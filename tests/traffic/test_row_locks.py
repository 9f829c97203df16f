"""Row locks and the locks of resumes: requests that wait for them, and concurrent instances."""

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import psycopg

from tests.conftest import Urls
from tests.support.batching import start
from tests.support.inspection import QUEUED, running_in, waiting_for_locks
from tests.support.orders import order, order_quiz
from tests.support.service import Service, running
from tests.support.waiting import eventually


def test_a_row_lock_delays_no_other_session(patient_service: Service, fresh_database: Urls) -> None:
    """A save to a session with a locked row waits alone, and succeeds after the lock."""
    sessions = [patient_service.start()["id"] for _ in range(30)]
    locked, others = sessions[:3], sessions[3:]
    with (
        psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"]) as holder,
        ThreadPoolExecutor(32) as clients,
    ):
        holder.execute("select from quiz_sessions where id::text = any (%s) for update", [locked])
        late = [clients.submit(patient_service.save, session_id, 1, "late") for session_id in locked]
        eventually(lambda: waiting_for_locks(fresh_database["MIGRATION_DATABASE_URL"]) == len(locked))
        saves = [clients.submit(patient_service.save, session_id, 1, "x") for session_id in others]
        assert {save.result().status_code for save in saves} == {200}
        assert not any(save.done() for save in late)
        holder.rollback()
        assert [save.result().json()["answers"] for save in late] == [{"1": "late"}] * 3


def test_writes_behind_a_row_lock_keep_their_order(patient_service: Service, fresh_database: Urls) -> None:
    """A save that arrives when a row lock ends is processed after the one that waited for the lock."""
    session_id = patient_service.start()["id"]
    url = fresh_database["MIGRATION_DATABASE_URL"]
    waiting = (
        "select pid from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    )
    with (
        psycopg.connect(url) as holder,
        psycopg.connect(url, autocommit=True) as database,
        ThreadPoolExecutor(2) as clients,
    ):
        holder.execute("select from quiz_sessions where id = %s for update", [session_id])
        first = clients.submit(patient_service.save, session_id, 1, "first")
        eventually(lambda: waiting_for_locks(fresh_database["MIGRATION_DATABASE_URL"]) == 1)
        (pid,) = database.execute(waiting).fetchone() or (0,)
        backend = psutil.Process(pid)
        backend.send_signal(signal.SIGSTOP)
        holder.rollback()
        second = clients.submit(patient_service.save, session_id, 1, "second")
        try:
            # It is queued behind the first one, which PostgreSQL does not see yet.
            eventually(lambda: second.done() or running_in(patient_service, QUEUED))
        finally:
            backend.send_signal(signal.SIGCONT)
        assert [first.result().json()["version"], second.result().json()["version"]] == [2, 3]
    assert patient_service.read(session_id).json()["answers"] == {"1": "second"}


def test_a_save_times_out_on_a_row_lock(isolated_service: Service, fresh_database: Urls) -> None:
    """A save that waits too long for a row lock is not applied.

    Its timeout is shorter than that of a request, after which the outcome would be unknown.
    """
    session_id = isolated_service.start()["id"]
    with (
        psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"]) as holder,
        ThreadPoolExecutor(1) as client,
    ):
        holder.execute("select from quiz_sessions where id = %s for update", [session_id])
        saved = client.submit(isolated_service.save, session_id, 1, "never")
        eventually(lambda: waiting_for_locks(fresh_database["MIGRATION_DATABASE_URL"]) == 1)
        response = saved.result()
        assert (response.status_code, response.json()["outcome"]) == (503, "not_applied")
    assert isolated_service.read(session_id, {"cache-control": "no-cache"}).json()["version"] == 1


def test_concurrent_instances_lose_no_save_and_never_deadlock(
    patient_service: Service, fresh_database: Urls, patient_repository: Path
) -> None:
    """Two instances that save to the same sessions, in any order, lose no save and do not deadlock."""
    one = patient_service
    with running(fresh_database, patient_repository) as two:
        sessions = [one.start()["id"] for _ in range(6)]
        with ThreadPoolExecutor(32) as clients:
            saves = [
                clients.submit(instance.save, session_id, question, f"{question}", {"idempotency-key": key})
                for question in range(20)
                for instance, step, key in ((one, 1, f"one-{question}"), (two, -1, f"two-{question}"))
                for session_id in sessions[::step]
            ]
            assert {save.result().status_code for save in saves} == {200}
        for session_id in sessions:
            session = two.read(session_id).json()
            assert session["version"] == 41
            assert session["answers"] == {str(question): str(question) for question in range(20)}
        with psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"]) as database:
            query = "select deadlocks from pg_stat_database where datname = current_database()"
            assert database.execute(query).fetchone() == (0,)


def test_a_resume_times_out_on_the_lock_of_another(isolated_service: Service, fresh_database: Urls) -> None:
    """A resume starts no session while another transaction holds the lock of the user and the quiz."""
    with psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"]) as holder:
        holder.execute(
            "select pg_advisory_xact_lock(hashtextextended('locked user', hashtextextended('7', 0)))"
        )
        response = start(isolated_service, "locked user", "resume", None)
        assert (response.status_code, response.json().get("outcome")) == (503, "not_applied")
    assert start(isolated_service, "locked user", "resume", None).status_code == 201


def test_concurrent_resumes_on_two_instances_create_one_session(
    patient_service: Service, fresh_database: Urls, patient_repository: Path
) -> None:
    """Concurrent resumes on two instances create one session for each user."""
    one = patient_service
    with running(fresh_database, patient_repository) as two:
        with ThreadPoolExecutor(32) as clients:
            resumes = [
                clients.submit(start, instance, f"racing {user}", "resume", None)
                for user in range(30)
                for instance in (one, two) * 3
            ]
            ids = {(resume.result().json()["user_id"], resume.result().json()["id"]) for resume in resumes}
        assert len(ids) == 30


def test_an_order_for_a_locked_row_waits_alone(patient_service: Service, fresh_database: Urls) -> None:
    """An order for a session with a locked row waits for the lock; others are given and saved meanwhile."""
    locked, *others = (patient_service.start()["id"] for _ in range(20))
    url = fresh_database["MIGRATION_DATABASE_URL"]
    with psycopg.connect(url) as holder, ThreadPoolExecutor(32) as clients:
        holder.execute("select from quiz_sessions where id = %s for update", [locked])
        late = clients.submit(order, patient_service, "pause", locked)
        eventually(lambda: waiting_for_locks(url) == 1)
        meanwhile = [clients.submit(order, patient_service, "pause", session_id) for session_id in others]
        assert {given.result().json()["status"] for given in meanwhile} == {"paused"}
        assert not late.done()
        # The order is judged by the row after the lock, and by the clock then.
        holder.execute("update quiz_sessions set version = version + 6 where id = %s", [locked])
        holder.commit()
        assert (late.result().status_code, late.result().json()["version"]) == (200, 8)


def test_of_the_calls_of_one_order_for_a_quiz_one_waits(
    isolated_service: Service, fresh_database: Urls
) -> None:
    """Many calls with one key, while another instance holds the order's row, take one connection of all."""
    session_id = isolated_service.start(quiz_id="exam")["id"]
    url = fresh_database["MIGRATION_DATABASE_URL"]
    assert order_quiz(isolated_service, "pause", {"quiz_id": "exam"}, "k").json()["changed"] == 1
    waiting = []
    with psycopg.connect(url) as holder, ThreadPoolExecutor(16) as clients:
        holder.execute("select from quiz_orders for update")
        calls = [
            clients.submit(order_quiz, isolated_service, "pause", {"quiz_id": "exam"}, "k") for _ in range(16)
        ]
        while not all(call.done() for call in calls):
            waiting.append(waiting_for_locks(url))
        assert {call.result().status_code for call in calls} == {503}
    assert max(waiting) == 1
    assert order_quiz(isolated_service, "pause", {"quiz_id": "exam"}, "k").json()["changed"] == 1
    assert isolated_service.read(session_id).json()["status"] == "paused"
