"""Secrets, and what learners write, stand in no line of the log, no error and no word on health."""

import os
import subprocess
import sys
from collections.abc import Iterator

import httpx
import psycopg
import pytest
from redis import Redis

from dev import reaper, servers
from dev.reaper import ROOT
from tests.conftest import Urls, migrate
from tests.operations.test_get_health import told as told_by
from tests.support import issuer
from tests.support.service import Service, folder, running
from tests.support.waiting import LIMIT

CANARY = "canary"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """All that a service wrote and answered but sessions, at the level debug, on its best and worst days."""
    with folder() as base, reaper.servers(base) as urls, folder() as other:
        migrate(urls)
        with servers.redis(other, other) as redis:
            with Redis.from_url(redis.url) as operator:
                operator.config_set("requirepass", "canary-redis")
            place = tmp_path_factory.mktemp("canary-issuer") / "canary-keys.json"
            settings = {
                "DATABASE_URL": urls["DATABASE_URL"].replace("@", ":canary-postgres@"),
                "REDIS_URL": f"unix://:canary-redis@{other}/redis.sock",
                "LOG_LEVEL": "debug",
                "RATE_LIMIT": "200",
                **issuer.guarded(place),
                "JWT_AUDIENCE": "canary-audience",
                "JWT_SERVICE_SCOPE": "canary-scope",
            }
            with running(settings) as service:
                words = [*_good_day(service), *_bad_requests(service)]
                redis.process.kill()
                words += _good_day(service)
                words += _refused_row(service, urls["MIGRATION_DATABASE_URL"])
                _rename_table(urls["MIGRATION_DATABASE_URL"])
                words.append(_words(told_by(service, "/health", lambda reply: reply.status_code == 503)))
                words += _good_day(service)
                _lock_out(urls["MIGRATION_DATABASE_URL"])
                words += _good_day(service)
                log = service.log
                service.process.terminate()
                service.process.wait(LIMIT)
                words.append(log.read_text())
            _let_in(urls["MIGRATION_DATABASE_URL"])
            words += _starts_that_fail(settings)
        yield "\n".join(words)


def test_no_canary_sings(told: str) -> None:
    """No password, token, key, user or answer is repeated, nor where the keys lie."""
    assert [line for line in told.splitlines() if CANARY in line] == []


def test_the_canaries_were_there(told: str) -> None:
    """The service was asked, failed in each way, and wrote at the level debug."""
    for sign in (
        " 200 ",
        " 201 ",
        " 400 ",
        " 401 ",
        " 403 ",
        " 500 ",
        " 503 ",
        "UNAUTHENTICATED",
        "unhealthy",
    ):
        assert sign in told, sign
    assert "redis is not believed" in told
    assert "RejectedError: write_sessions: 23514" in told
    assert "cannot start" in told


def _good_day(service: Service) -> list[str]:
    """Ask for all that there is, with a canary in each field; return the errors and the words on health."""
    who = issuer.bearer("canary-user", aud="canary-audience")
    client = service.client
    body = {"user_id": "canary-user", "quiz_id": 7}
    key = {"idempotency-key": "canary-key"}
    replies = [client.post("/api/sessions/start", json=body, headers=who | key)]
    session_id = replies[0].json().get("id", "0b8f6c1e-5d0a-4c55-9d1c-2f6f3a1f7f10")
    path = f"/api/sessions/{session_id}"
    answer = {"question_id": 1, "answer": "canary-answer"}
    replies += [
        client.put(f"{path}/progress", json=answer, headers=who | {"prefer": "canary-preference"}),
        client.patch(f"{path}/progress", json={"answers": {"2": "canary-answers"}}, headers=who),
        client.get(path, headers=who | {"if-none-match": '"canary-tag"', "user-agent": "canary-agent"}),
        client.get("/api/sessions", params={"user_id": "canary-user"}, headers=who),
        client.get("/api/sessions", params={"cursor": "canary-cursor"}, headers=who),
        client.get("/api/sessions", params={"status": "canary-status"}, headers=who),
        client.put(f"{path}/progress", json=answer, headers=who | {"if-match": '"canary-match"'}),
        client.get(path, headers=who | {"cache-control": "no-cache, canary-control"}),
        client.post(f"{path}/complete", json={"answers": {"3": "canary-last"}}, headers=who),
        *(client.get(f"/health{probe}", headers=who) for probe in ("", "/ready", "/live")),
    ]
    return [_words(reply) for reply in replies]


def _bad_requests(service: Service) -> list[str]:
    """Ask for what is refused, with a canary in each place; return the errors.

    A plain name of an unknown field is repeated: tests/api/test_messages.py.
    """
    client = service.client
    who = issuer.bearer("canary-user", aud="canary-audience")
    asked = [
        {"headers": {}},
        {"headers": {"authorization": "Bearer canary.token.canary"}},
        {"headers": {"authorization": "Basic canary"}},
        {"headers": issuer.bearer("canary-user", aud="canary-wrong")},
        {"headers": who | {"content-type": "canary/type"}, "content": b"canary"},
        {"headers": who | {"content-type": "application/json"}, "content": b"canary"},
        {
            "headers": who | {"idempotency-key": "canary key"},
            "json": {"user_id": "canary-user", "quiz_id": 7},
        },
        {"headers": who, "json": {"user_id": "canary-other", "quiz_id": 7}},
        {"headers": who, "json": {"user_id": ["canary"], "quiz_id": "canary", "c.canary": "canary"}},
        {"headers": who, "json": {"user_id": "canary-user", "quiz_id": 7}, "params": {"c.canary": "canary"}},
    ]
    return [_words(client.post("/api/sessions/start", **one)) for one in asked]  # type: ignore[arg-type]


def _starts_that_fail(settings: Urls) -> list[str]:
    """Return what services write that are set up wrongly, each with canaries in its settings."""
    wrong = [
        {"DATABASE_URL": "postgresql://canary:canary@[canary"},
        {"DATABASE_URL": "postgresql://session_service:canary@/x?pgbouncer=canary"},
        {"REDIS_URL": "canary://canary"},
        {"REDIS_URL": "redis://canary:canary@127.0.0.1:canary"},
        {"REDIS_URL": "redis://canary:canary@127.0.0.1/0?foo=canary"},
        {"JWT_KEYS": "/canary/keys.json"},
        {"JWT_KEYS": "canary"},
        {"JWT_ISSUER": ""},
        {"PORT": "canary"},
        {"LOG_LEVEL": "canary"},
        {"CORS_ORIGINS": "canary"},
    ]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "session_service"],
            cwd=ROOT,
            env={**os.environ, **settings, **one},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for one in wrong
    ]
    told = []
    for process in running:
        told.append(process.communicate(timeout=LIMIT)[0])
        assert process.returncode == 1
        assert told[-1].startswith("session-service: ")
    return told


def _words(reply: httpx.Response) -> str:
    """Return the reply without the session that it may carry: that is its learner's own."""
    body = reply.json()
    if "user_id" in body or "items" in body:
        body = {}
    body.pop("session", None)
    return f" {reply.status_code} {body} {reply.headers}"


def _refused_row(service: Service, url: str) -> list[str]:
    """Return what is told where PostgreSQL refuses a row, and repeats it in its own words."""
    who = issuer.bearer("canary-user", aud="canary-audience")
    body = {"user_id": "canary-user", "quiz_id": 7}
    session_id = service.client.post("/api/sessions/start", json=body, headers=who).json()["id"]
    with psycopg.connect(url, autocommit=True) as operator:
        refuse = "check (not answers ? '13')"
        operator.execute(f"alter table quiz_sessions add constraint refused {refuse} not valid")
        answer = {"question_id": 13, "answer": "canary-answer"}
        reply = service.client.put(f"/api/sessions/{session_id}/progress", json=answer, headers=who)
        operator.execute("alter table quiz_sessions drop constraint refused")
    assert reply.status_code == 500
    return [_words(reply)]


def _rename_table(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as operator:
        operator.execute("alter table quiz_sessions rename to taken_away")


def _lock_out(url: str) -> None:
    """Have PostgreSQL end the service's connections, and take no others."""
    with psycopg.connect(url, autocommit=True) as operator:
        operator.execute("alter role session_service nologin")
        operator.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'session_service'"
        )


def _let_in(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as operator:
        operator.execute("alter table taken_away rename to quiz_sessions")
        operator.execute("alter role session_service login")
