"""Tests of redaction: no secret and no personal data in the log, in errors or in health checks."""

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
from tests.operations.test_get_health import await_probe
from tests.support import issuer
from tests.support.service import Service, folder, free_port, running
from tests.support.waiting import LIMIT

CANARY = "canary"


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Log at level debug, errors and health checks, in normal operation and outages, and failed starts."""
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
                **issuer.token_settings(place),
                "JWT_AUDIENCE": "canary-audience",
                "JWT_SERVICE_SCOPE": "canary-scope",
                "TRACES": "yes",
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
                "OTEL_EXPORTER_OTLP_HEADERS": "Authorization Bearer canary-otlp",
            }
            with running(settings) as service:
                texts = [*_all_operations(service), *_invalid_requests(service)]
                redis.process.kill()
                texts += _all_operations(service)
                texts += _violated_constraint(service, urls["MIGRATION_DATABASE_URL"])
                _rename_table(urls["MIGRATION_DATABASE_URL"])
                texts.append(
                    _text(await_probe(service, "/health", lambda response: response.status_code == 503))
                )
                texts += _all_operations(service)
                _lock_out(urls["MIGRATION_DATABASE_URL"])
                texts += _all_operations(service)
                log = service.log
                service.process.terminate()
                service.process.wait(LIMIT)
                texts.append(log.read_text())
            _restore(urls["MIGRATION_DATABASE_URL"])
            texts += _failed_starts(settings)
        yield "\n".join(texts)


def test_redaction_of_secrets_and_personal_data(output: str) -> None:
    """Redaction: no password, token, key, user, answer or path of the keys is in the output."""
    assert [line for line in output.splitlines() if CANARY in line] == []


def test_redaction_covers_every_kind_of_failure(output: str) -> None:
    """The output that was searched has every kind of failure, at level debug."""
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
        assert sign in output, sign
    assert "circuit breaker open" in output
    assert "RejectedError: write_sessions: 23514" in output
    assert "cannot start" in output


def _all_operations(service: Service) -> list[str]:
    """Send every operation with a canary in each field; return the errors and the health checks."""
    headers_of_user = issuer.bearer("canary-user", aud="canary-audience")
    client = service.client
    body = {"user_id": "canary-user", "quiz_id": 7}
    key = {"idempotency-key": "canary-key"}
    responses = [client.post("/api/sessions/start", json=body, headers=headers_of_user | key)]
    session_id = responses[0].json().get("id", "0b8f6c1e-5d0a-4c55-9d1c-2f6f3a1f7f10")
    path = f"/api/sessions/{session_id}"
    answer = {"question_id": 1, "answer": "canary-answer"}
    responses += [
        client.put(
            f"{path}/progress", json=answer, headers=headers_of_user | {"prefer": "canary-preference"}
        ),
        client.patch(f"{path}/progress", json={"answers": {"2": "canary-answers"}}, headers=headers_of_user),
        client.get(
            path, headers=headers_of_user | {"if-none-match": '"canary-tag"', "user-agent": "canary-agent"}
        ),
        client.get("/api/sessions", params={"user_id": "canary-user"}, headers=headers_of_user),
        client.get("/api/sessions", params={"cursor": "canary-cursor"}, headers=headers_of_user),
        client.get("/api/sessions", params={"status": "canary-status"}, headers=headers_of_user),
        client.put(f"{path}/progress", json=answer, headers=headers_of_user | {"if-match": '"canary-match"'}),
        client.get(path, headers=headers_of_user | {"cache-control": "no-cache, canary-control"}),
        client.post(f"{path}/complete", json={"answers": {"3": "canary-last"}}, headers=headers_of_user),
        *(client.get(f"/health{probe}", headers=headers_of_user) for probe in ("", "/ready", "/live")),
    ]
    return [_text(response) for response in responses]


def _invalid_requests(service: Service) -> list[str]:
    """Send invalid requests with a canary in each place; return the errors.

    Plain names of unknown fields are repeated: tests/api/test_messages.py.
    """
    client = service.client
    headers_of_user = issuer.bearer("canary-user", aud="canary-audience")
    requests = [
        {"headers": {}},
        {"headers": {"authorization": "Bearer canary.token.canary"}},
        {"headers": {"authorization": "Basic canary"}},
        {
            "headers": {
                "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                "tracestate": "learner canary-state",
            }
        },
        {"headers": issuer.bearer("canary-user", aud="canary-wrong")},
        {"headers": headers_of_user | {"content-type": "canary/type"}, "content": b"canary"},
        {"headers": headers_of_user | {"content-type": "application/json"}, "content": b"canary"},
        {
            "headers": headers_of_user | {"idempotency-key": "canary key"},
            "json": {"user_id": "canary-user", "quiz_id": 7},
        },
        {"headers": headers_of_user, "json": {"user_id": "canary-other", "quiz_id": 7}},
        {
            "headers": headers_of_user,
            "json": {"user_id": ["canary"], "quiz_id": "canary", "c.canary": "canary"},
        },
        {
            "headers": headers_of_user,
            "json": {"user_id": "canary-user", "quiz_id": 7},
            "params": {"c.canary": "canary"},
        },
    ]
    return [_text(client.post("/api/sessions/start", **one)) for one in requests]  # type: ignore[arg-type]


def _failed_starts(settings: Urls) -> list[str]:
    """Return the output of failed starts, each with canaries in its settings."""
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
    output = []
    for process in running:
        output.append(process.communicate(timeout=LIMIT)[0])
        assert process.returncode == 1
        assert output[-1].startswith("session-service: ")
    return output


def _text(response: httpx.Response) -> str:
    """Return the response without the session in it, which belongs to its learner."""
    body = response.json()
    if "user_id" in body or "items" in body:
        body = {}
    body.pop("session", None)
    return f" {response.status_code} {body} {response.headers}"


def _violated_constraint(service: Service, url: str) -> list[str]:
    """Return the response to a write that violates a constraint: PostgreSQL's own message has the row."""
    headers_of_user = issuer.bearer("canary-user", aud="canary-audience")
    body = {"user_id": "canary-user", "quiz_id": 7}
    session_id = service.client.post("/api/sessions/start", json=body, headers=headers_of_user).json()["id"]
    with psycopg.connect(url, autocommit=True) as operator:
        refuse = "check (not answers ? '13')"
        operator.execute(f"alter table quiz_sessions add constraint refused {refuse} not valid")
        answer = {"question_id": 13, "answer": "canary-answer"}
        response = service.client.put(
            f"/api/sessions/{session_id}/progress", json=answer, headers=headers_of_user
        )
        operator.execute("alter table quiz_sessions drop constraint refused")
    assert response.status_code == 500
    return [_text(response)]


def _rename_table(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as operator:
        operator.execute("alter table quiz_sessions rename to taken_away")


def _lock_out(url: str) -> None:
    """Close the service's connections and let PostgreSQL reject new ones."""
    with psycopg.connect(url, autocommit=True) as operator:
        operator.execute("alter role session_service nologin")
        operator.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'session_service'"
        )


def _restore(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as operator:
        operator.execute("alter table taken_away rename to quiz_sessions")
        operator.execute("alter role session_service login")
