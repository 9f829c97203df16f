"""Modes of Redis that the service does not support: it serves without the cache."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis

from dev import servers
from tests.conftest import Urls
from tests.support.service import folder, free_port, running
from tests.support.waiting import eventually


def test_a_redis_cluster_is_unsupported(migrated: Urls) -> None:
    """A Redis cluster is logged as unsupported; the service works without the cache."""
    with _redis("--cluster-enabled", "yes") as url:
        _serves_without_a_cache(migrated, url, "cluster mode")


def test_a_redis_sentinel_is_unsupported(migrated: Urls) -> None:
    """A Redis Sentinel is logged as unsupported; the service works without the cache."""
    with _redis("--sentinel") as url:
        _serves_without_a_cache(migrated, url, "sentinel mode")


def _serves_without_a_cache(env: Urls, url: str, mode: str) -> None:
    with running(env, REDIS_URL=url) as service:
        session_id = service.start()["id"]
        assert service.save(session_id, 1, "x").status_code == 200
        assert service.read(session_id).json()["answers"] == {"1": "x"}
        with Redis.from_url(url) as operator:
            before = _connections(operator)
            # Each attempt to use Redis again opens a connection.
            eventually(lambda: _connections(operator) >= before + 2)
            assert service.client.get("/health").json()["status"] == "degraded"
        log = service.log.read_text()
    assert log.count(f"session-service: REDIS_URL leads to Redis in {mode}, which is not supported") == 1
    assert "circuit breaker closed" not in log


@contextmanager
def _redis(*options: str) -> Iterator[str]:
    """Run a Redis in a mode that the service does not support."""
    # A cluster also listens on the port 10,000 above, which no outgoing connection may have taken either.
    port = next(port for port in iter(free_port, None) if port < 22_768)
    with folder() as base:
        file = base / "redis.conf"
        file.write_text(f"port {port}\nbind 127.0.0.1\ndir {base}\n")
        command: list[str | Path] = [servers._redis_binary(), file, *options]  # noqa: SLF001 - the one place that finds it
        with subprocess.Popen(command) as server:
            try:
                eventually(lambda: _listens(port))
                yield f"redis://127.0.0.1:{port}"
            finally:
                server.terminate()


def _connections(operator: "Redis") -> int:
    return int(operator.info("stats")["total_connections_received"])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
