"""Contract, code and SQL files that do not match stop the start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.service import copy_repository
from tests.support.waiting import LIMIT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the checkout, to be modified."""
    return copy_repository(tmp_path)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "openapi.yaml",
            "operationId: getSession\n",
            "operationId: findSession\n",
            "['find_session', 'get_session']",
        ),
        (
            "session_service/api/operations.py",
            "async def get_health",
            "async def get_wealth",
            "['get_health', 'get_wealth']",
        ),
        (
            "session_service/api/operations.py",
            "    id: UUID,\n    if_none",
            "    key: UUID,\n    if_none",
            "get_session takes",
        ),
        (
            "openapi.yaml",
            "      name: id\n      in: path",
            "      name: key\n      in: path",
            "'key'], its function",
        ),
        (
            "openapi.yaml",
            "        '304':\n",
            "        '303':\n",
            "list_sessions declares [200, 303], not [200, 304]",
        ),
        (
            "session_service/api/docs.py",
            'find_spec("swagger_ui")',
            'find_spec("absent")',
            "needs swagger-ui-py",
        ),
        ("sql/get_sessions.sql", ":many", ":one", "get_sessions.sql: bound as :many"),
        ("sql/get_sessions.sql", "completed_at timestamptz?", "completed_at timestamptz", "'completed_at'"),
        ("sql/get_sessions.sql", "-- in:  reads jsonb", "-- in:  reads jsonb, x text", "placeholders"),
        (
            "session_service/sessions/models.py",
            "    quiz_id: ExternalId\n    current",
            "    quizzes: ExternalId\n    current",
            "'quizzes'",
        ),
    ],
)
def test_contract_code_and_sql_must_match(
    checkout: Path, file: str, old: str, new: str, message: str
) -> None:
    """A service whose contract, code and SQL files do not match does not start."""
    text = (checkout / file).read_text()
    assert old in text
    (checkout / file).write_text(text.replace(old, new))
    ended = subprocess.run(
        [sys.executable, "-m", "session_service"],
        cwd=checkout,
        env={
            **os.environ,
            "DATABASE_URL": "postgresql://x@127.0.0.1:1/x",
            "REDIS_URL": "redis://127.0.0.1:1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert ended.returncode != 0
    assert message in ended.stdout.splitlines()[-1]
