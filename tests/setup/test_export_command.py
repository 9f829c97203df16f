"""Tests of bin/export: the same bytes as the operation, files that are whole or not there, exit statuses."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from redis import Redis

from dev.reaper import ROOT
from tests.conftest import Urls
from tests.operations.test_list_sessions_items import CHANGE
from tests.support.exports import PATH, fill
from tests.support.service import Service, free_port
from tests.support.waiting import LIMIT, eventually

OLD = b"an earlier export"


def _start(urls: Urls, *options: str, **changes: str) -> subprocess.Popen[bytes]:
    env = {**os.environ, **urls, **changes}
    return subprocess.Popen(
        [ROOT / "bin" / "export", *options], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def run_export(urls: Urls, *options: str, **changes: str) -> tuple[int, bytes, str]:
    """Run the command; return its exit status, its output and its messages."""
    with _start(urls, *options, **changes) as process:
        output, messages = process.communicate(timeout=LIMIT)
        return process.returncode, output, messages.decode()


@pytest.fixture(scope="module")
def large_quiz(migrated: Urls) -> Iterator[str]:
    """A quiz with 200 sessions of 900 KB."""
    quiz = f"quiz-{uuid4()}"
    with psycopg.connect(migrated["MIGRATION_DATABASE_URL"], autocommit=True) as database:
        fill(database, quiz, 200, size=900_000)
        yield quiz
        database.execute("delete from quiz_sessions where quiz_id = %s", [quiz])


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_export_is_that_of_the_service(service: Service, migrated: Urls, tmp_path: Path, form: str) -> None:
    """The command exports the same bytes as the operation, to a file or to standard output."""
    quiz, user = f"quiz-{uuid4()}", f"user-{uuid4()}"
    for other in (user, f"user-{uuid4()}"):
        session_id = service.start(quiz_id=quiz, user_id=other)["id"]
        service.save_many(session_id, {"1": "ä=1", "2": 3.5})
        service.complete(session_id)
    service.start(quiz_id=quiz, user_id=user)
    query = {"quiz_id": quiz, "user_id": user, "status": "completed", "format": form}
    expected = service.client.get(PATH, params=query).content
    options = ["--quiz-id", quiz, "--user-id", user, "--status", "completed", "--format", form]
    file = tmp_path / "answers"
    file.write_bytes(OLD)
    status, output, messages = run_export(migrated, *options, "--output", str(file))
    assert (status, output, messages) == (
        0,
        b"",
        f"session-service: exported 1 sessions, {len(expected)} bytes\n",
    )
    assert file.read_bytes() == expected
    assert (file.stat().st_mode & 0o777, len(list(tmp_path.iterdir()))) == (0o600, 1)
    assert run_export(migrated, *options)[:2] == (0, expected)
    assert run_export(migrated, *options, "--dry-run")[:2] == (
        0,
        f"1 sessions, {len(expected)} bytes\n".encode(),
    )


def test_a_relative_file_is_in_the_current_folder(migrated: Urls, tmp_path: Path) -> None:
    """A relative name of a file is one in the folder in which the command is run."""
    subprocess.run(
        [ROOT / "bin" / "export", "--quiz-id", "none", "--output", "answers.csv"],
        env={**os.environ, **migrated},
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    assert [path.name for path in tmp_path.iterdir()] == ["answers.csv"]


def test_an_export_raises_the_cache_or_shows_no_version(
    service: Service, migrated: Urls, database: psycopg.Connection, cache: Redis
) -> None:
    """An export with a version has raised the cache to it; without Redis it shows no version."""
    quiz = f"quiz-{uuid4()}"
    session_id = service.start(quiz_id=quiz)["id"]
    database.execute(CHANGE, [session_id])
    options = ["--quiz-id", quiz, "--format", "ndjson"]
    assert b'"version":null' in run_export(migrated, *options, REDIS_URL="")[1]
    assert service.read(session_id).json()["version"] == 1
    assert b'"version":2' in run_export(migrated, *options)[1]
    assert str(cache.getrange(f"session:{session_id}", 0, 4)) == "b's1 2 '"
    assert service.read(session_id).json()["version"] == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"DATABASE_URL": "postgresql://u@127.0.0.1:{port}/d"}, "the PostgreSQL of DATABASE_URL is out of"),
        ({"REDIS_URL": "redis://127.0.0.1:{port}"}, "the Redis of REDIS_URL is out of reach"),
        ({"DATABASE_URL": "mysql://u@h/d"}, "DATABASE_URL must be set to a URL"),
        ({"CACHE_SECONDS": "x"}, "CACHE_SECONDS must be a whole number"),
    ],
    ids=["postgresql", "redis", "url", "setting"],
)
def test_a_failed_export_leaves_the_file(
    service: Service, migrated: Urls, tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    """An export that fails prints one line, exits with 1, and leaves the earlier file as it was."""
    quiz, file = f"quiz-{uuid4()}", tmp_path / "answers"
    service.start(quiz_id=quiz)
    file.write_bytes(OLD)
    given = {name: value.format(port=free_port()) for name, value in changes.items()}
    status, _, messages = run_export(migrated, "--quiz-id", quiz, "--output", str(file), **given)
    assert (status, messages.count("\n")) == (1, 1)
    assert messages.startswith(f"session-service: {message}")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [OLD]


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_export_leaves_no_file(
    migrated: Urls, large_quiz: str, tmp_path: Path, sent: signal.Signals, status: int
) -> None:
    """A signal ends an export, and the part of the file that was written is removed."""
    file = tmp_path / "answers"
    for _ in range(5):
        with _start(
            migrated, "--quiz-id", large_quiz, "--format", "ndjson", "--output", str(file)
        ) as process:
            eventually(lambda: any(path.stat().st_size for path in tmp_path.iterdir()))
            process.send_signal(sent)
            ended = process.wait(LIMIT)
        if ended:
            break
        # The export was whole before the signal came.
        file.unlink()
    assert ended == status
    assert list(tmp_path.iterdir()) == []


def test_an_export_to_a_closed_pipe_fails(migrated: Urls, large_quiz: str) -> None:
    """A reader that ends before the export makes it exit with 1, with one line."""
    with _start(migrated, "--quiz-id", large_quiz, "--format", "ndjson") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(1) == b"{"
        process.stdout.close()
        assert process.wait(LIMIT) == 1
        assert process.stderr.read() == b"session-service: the export cannot be written: Broken pipe\n"


def test_a_rejected_statement_is_explained(fresh_database: Urls) -> None:
    """Without the tables the command says which statement PostgreSQL rejects."""
    status, _, messages = run_export(fresh_database)
    assert status == 1
    assert "does the database need bin/migrate?" in messages


def test_wrong_options_exit_with_2(migrated: Urls, tmp_path: Path) -> None:
    """Unknown options are usage errors; a folder or a device is no file to write to."""
    assert run_export(migrated, "--format", "xlsx")[0] == 2
    assert run_export(migrated, "--quiz-id", os.fsdecode(b"\xff"))[0] == 2
    status, _, messages = run_export(migrated, "--output", str(tmp_path))
    assert (status, messages) == (1, f"session-service: {tmp_path} is no regular file\n")
    assert run_export(migrated, "--output", str(tmp_path / "none" / "file"))[0] == 1
