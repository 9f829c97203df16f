"""Tests of deploy/compose, where HAProxy runs outside of containers, and of docker-compose.yml.

There is no Docker here: the Compose files are only read.
"""

import asyncio
import re
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from socketserver import BaseRequestHandler, ThreadingUDPServer
from threading import Thread
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import yaml

from dev.reaper import ROOT
from session_service.api import contract
from session_service.server import serve
from session_service.settings import Settings
from session_service.traffic.batching import QUEUE_TIMEOUT
from tests.conftest import Urls
from tests.support.keep_alive import KeepAliveClient, LostError, Reply
from tests.support.load import CLIENTS, Load, load
from tests.support.proxies import configured_haproxy
from tests.support.service import Service, free_port, running
from tests.support.uncommenting import uncommented
from tests.support.waiting import eventually_async

CONFIG = ROOT / "deploy" / "compose" / "haproxy.cfg"
TEXT = (CONFIG.parent / "compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
# All parts on one machine.
ALL: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


KNOWN = set(re.findall(r'"([A-Z_]{4,})"', (ROOT / "session_service" / "settings.py").read_text()))
OTLP = "OTEL_EXPORTER_OTLP_ENDPOINT"
# Settings that are not those of the container: its own address, those of other commands, and of the build.
ELSEWHERE = {
    "HOST",
    "PORT",
    "ADMIN_HOST",
    "ADMIN_PORT",
    "WEBHOOKS_FILE",
    "MIGRATION_DATABASE_URL",
    "REVISION",
}
HOLD = 30  # seconds after which HAProxy gives up a name that its resolver does not know (`hold timeout`)


@contextmanager
def site(urls: Urls, host: str = "127.0.0.1", **more: str) -> Iterator[tuple[int, dict[str, Service]]]:
    """Run two instances, whose names PostgreSQL shows, behind HAProxy; yield its port and both.

    HAProxy finds them by the host, and has further variables.
    """
    with ExitStack() as stack:
        instances = {
            name: stack.enter_context(
                running(urls, DATABASE_URL=f"{urls['DATABASE_URL']}&application_name={name}")
            )
            for name in ("instance-1", "instance-2")
        }
        first, second = (f"{host}:{urlsplit(instance.url).port}" for instance in instances.values())
        port = free_port()
        settings = {"BIND": f"127.0.0.1:{port}", "INSTANCE_1": first, "INSTANCE_2": second, **more}
        stack.enter_context(configured_haproxy(CONFIG, port, settings))
        yield port, instances


@contextmanager
def resolving() -> Iterator[str]:
    """Run a DNS server (RFC 1035) that gives 127.0.0.1 for each name; yield its address."""

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            query, connection = self.request
            # The question: a name up to its zero byte, type and class. Further sections (EDNS) are left out.
            end = query.index(b"\0", 12) + 5
            has_address = query[end - 4 : end - 2] == b"\0\1"
            header = query[:2] + b"\x81\x80" + struct.pack("!4H", 1, int(has_address), 0, 0)
            # The name by reference, A, IN, 5 seconds, 4 bytes.
            answer = b"\xc0\x0c" + struct.pack("!2HIH", 1, 1, 5, 4) + b"\x7f\0\0\1"
            connection.sendto(header + query[12:end] + answer * has_address, self.client_address)

    with ThreadingUDPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.needs("haproxy")
def test_requests_go_on_when_an_instance_is_killed(migrated: Urls) -> None:
    """After one of two instances is killed under load, clients go on, and no acknowledged answer is lost."""

    async def run(port: int, victim: Service) -> None:
        async with load(f"http://127.0.0.1:{port}") as clients:
            victim.process.kill()
            victim.process.wait()
            killed = monotonic()
            await eventually_async(
                lambda: len(_served(clients, killed)) == CLIENTS, lambda: clients.results[-9:]
            )
            settled = monotonic()
            await eventually_async(lambda: len(_served(clients, settled)) == CLIENTS)
        # On a busy machine a save may be queued for too long; the instance that is left refuses none.
        failed = [one for one in clients.failures(settled) if one.end - one.begin < QUEUE_TIMEOUT]
        assert failed == []
        assert {one.status for one in clients.failures()} <= {0, 503}
        assert clients.lost(migrated["MIGRATION_DATABASE_URL"]) == []

    with site(migrated) as (port, instances):
        asyncio.run(run(port, instances["instance-1"]))


@pytest.mark.needs("haproxy")
@pytest.mark.parametrize("reused", [False, True], ids=["new connection", "reused connection"])
def test_a_request_is_never_sent_twice(migrated: Urls, reused: bool) -> None:  # noqa: FBT001 - a parameter
    """A save whose instance is killed has an unknown outcome: HAProxy does not repeat it on the other one.

    On a connection that had a request before, HAProxy only closes it (RFC 9112, 9.3.1).
    """

    async def run(port: int, instances: dict[str, Service]) -> None:
        first = KeepAliveClient()
        body = {"user_id": "ada", "quiz_id": 7}
        session = (await first.send(port, "POST", "/api/sessions/start", body)).body["id"]
        client = first if reused else KeepAliveClient()
        path = f"/api/sessions/{session}/progress"
        with psycopg.connect(migrated["MIGRATION_DATABASE_URL"]) as holder:
            holder.execute("select from quiz_sessions where id = %s for update", [session])
            save = {"question_id": 1, "answer": "x"}
            waiting = asyncio.create_task(client.send(port, "PUT", path, save, {"x-request-id": "r-1"}))
            await eventually_async(lambda: _waiting(migrated))
            (name,) = {*_waiting(migrated)}
            instances[name].process.kill()
            if reused:
                with pytest.raises(LostError):
                    await waiting
            else:
                _check_unavailable(await waiting, "unknown")
        (other,) = (instance for known, instance in instances.items() if known != name)
        repeated = await client.send(port, "PUT", path, save, {"x-request-id": "r-2"})
        assert (repeated.status, repeated.body["answers"]) == (200, {"1": "x"})
        await eventually_async(lambda: " r-2 PUT " in other.log.read_text())
        assert " r-1 " not in other.log.read_text()
        client.close()
        first.close()

    with site(migrated) as (port, instances):
        asyncio.run(run(port, instances))


@pytest.mark.needs("haproxy")
def test_without_an_instance_the_error_is_that_of_the_contract(migrated: Urls) -> None:
    """While no instance can be reached a request gets the 503 of the contract, with its request id."""

    async def run(port: int) -> None:
        client = KeepAliveClient()
        for given, shown in (("r-1", "r-1"), ('"}', None), ("x" * 129, None)):
            reply = await client.send(port, "GET", "/api/sessions", headers={"x-request-id": given})
            _check_unavailable(reply, "not_applied")
            assert (reply.headers["x-request-id"] == given) == (shown == given)
        client.close()

    with site(migrated) as (port, instances):
        for instance in instances.values():
            instance.process.kill()
            instance.process.wait()
        asyncio.run(run(port))


@pytest.mark.needs("haproxy")
def test_host_names_work_without_a_resolver(migrated: Urls) -> None:
    """Outside of Docker instances may be host names: they are in use also after HAProxy's longest hold."""
    with site(migrated, "localhost") as (port, _):
        asyncio.run(_await_served(port))
        sleep(HOLD + 5)
        asyncio.run(_await_served(port))


@pytest.mark.needs("haproxy")
def test_the_resolver_is_asked_for_host_names(migrated: Urls) -> None:
    """In Docker the names of the instances are known to RESOLVER only, which may give other addresses."""
    with resolving() as resolver, site(migrated, "service.test", RESOLVER=resolver) as (port, _):
        asyncio.run(_await_served(port))


def test_the_proxy_closes_idle_connections_first() -> None:
    """HAProxy's idle timeout is shorter than that of the service, and it repeats no request that was sent."""
    text = CONFIG.read_text()
    (seconds,) = re.findall(r"^  timeout http-keep-alive (\d+)s$", text, re.MULTILINE)
    assert (
        int(seconds)
        < Settings.read({"DATABASE_URL": "postgresql://u@h/d", "REDIS_URL": "redis://h"}).keep_alive_seconds
    )
    assert re.findall(r"^  retry-on (.*)$", text, re.MULTILINE) == ["conn-failure"]


def test_the_compose_file_fits_the_service() -> None:
    """Its variables are settings, its secrets are declared, the proxy has the instances, stops have time."""
    for name, one in SERVICES.items():
        if name == "proxy":
            continue
        given = one["environment"]
        assert {each if each in KNOWN else each.removesuffix("_FILE") for each in given} <= KNOWN | {OTLP}
        files = {value for value in given.values() if str(value).startswith("/run/")}
        assert files == {f"/run/secrets/{secret}" for secret in one["secrets"]}
        assert set(one["secrets"]) <= COMPOSE["secrets"].keys()
        assert (ROOT / "deploy" / "compose" / one["build"]["context"] / "Dockerfile").exists()
    proxy = SERVICES["proxy"]
    assert {proxy["environment"][f"INSTANCE_{number}"] for number in (1, 2)} == {
        f"{name}:3005" for name in proxy["depends_on"]
    }
    assert proxy["ports"][0].endswith(proxy["environment"]["BIND"])
    assert all((CONFIG.parent / volume.split(":")[0]).exists() for volume in proxy["volumes"])
    for name in proxy["depends_on"]:
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > serve.GRACEFUL_TIMEOUT


@pytest.mark.parametrize(
    ("file", "service", "fixed"),
    [
        (ALL, "service", {"DATABASE_URL", "REDIS_URL"}),
        # An instance beside another one is never without authentication.
        (COMPOSE, "service-1", {"AUTH", "ALLOW_UNAUTHENTICATED"}),
        (COMPOSE, "service-2", {"AUTH", "ALLOW_UNAUTHENTICATED"}),
    ],
)
def test_settings_of_the_shell_reach_the_service(file: dict[str, Any], service: str, fixed: set[str]) -> None:
    """Each setting of the service is taken from the shell, or a secret is from a file; few are fixed."""
    one = file["services"][service]
    given = one["environment"]
    passed = {name for name, value in given.items() if str(value).startswith(f"${{{name}:")}
    files = {name.removesuffix("_FILE") for name in given if name.endswith("_FILE")}
    if file is COMPOSE:
        assert "# ERASE_DATABASE_URL_FILE:" in TEXT
        files.add("ERASE_DATABASE_URL")
    assert passed | files | fixed | ELSEWHERE == KNOWN
    assert given[OTLP] is None
    # The metrics are published where ADMIN_HOST and ADMIN_PORT say.
    assert given["ADMIN_HOST"] == "0.0.0.0"  # noqa: S104 - in a container
    (admin,) = [port for port in one["ports"] if port.endswith(f":{given['ADMIN_PORT']}")]
    assert re.match(r"\$\{ADMIN_HOST:-127\.0\.0\.1\}:\$\{ADMIN_PORT(_2)?:-946[45]\}:", admin)


@pytest.mark.parametrize("file", [ALL, COMPOSE], ids=["docker-compose.yml", "deploy/compose"])
def test_images_have_a_version_and_logs_an_end(file: dict[str, Any]) -> None:
    """Images have the tag VERSION, by default that of the contract; the log of each container is rotated."""
    for name, one in file["services"].items():
        if "build" in one:
            assert one["image"] == f"session-service:${{VERSION:-{contract.version()}}}", name
        assert one["logging"] == {"driver": "local", "options": {"max-size": "50m", "max-file": "5"}}, name


def test_both_files_run_all_commands() -> None:
    """Both files migrate, which gives bin/fence its URLs, too, and have webhooks with their health check."""
    for file in (ALL, COMPOSE):
        services = file["services"]
        given = {name.removesuffix("_FILE") for name in services["migrate"]["environment"]}
        assert given >= {"DATABASE_URL", "MIGRATION_DATABASE_URL", "REDIS_URL"}
        webhooks = services["webhooks"]
        assert (webhooks["command"][2], webhooks["profiles"]) == ("session_service.webhooks", ["webhooks"])
        assert webhooks["healthcheck"]["test"][-1] == "--status"


def test_erasing_can_be_switched_on() -> None:
    """The lines that are comments give the secret to the instances and to the migrations."""
    services = yaml.safe_load(uncommented(TEXT))
    secret = services["secrets"]["erase-database-url"]["file"]
    assert secret == services["secrets"]["database-url"]["file"].replace("database-url", "erase-database-url")
    for name in ("service-1", "service-2", "migrate"):
        one = services["services"][name]
        assert one["environment"]["ERASE_DATABASE_URL_FILE"] == "/run/secrets/erase-database-url"
        assert "erase-database-url" in one["secrets"]


async def _await_served(port: int) -> None:
    """Wait until a request is served through HAProxy, whose own error is one of the contract before."""
    client = KeepAliveClient()

    async def served() -> bool:
        return (await client.send(port, "GET", "/api/sessions?user_id=ada")).status == 200

    try:
        await eventually_async(served)
    finally:
        client.close()


def _served(clients: Load, since: float) -> set[int]:
    """Return the clients that have a success of a request which began after the time."""
    return {one.client for one in clients.results if one.status == 200 and one.begin >= since}


def _waiting(urls: Urls) -> list[str]:
    """Return the names of the instances whose statement waits for a lock."""
    query = "select application_name from pg_stat_activity where wait_event_type = 'Lock'"
    with psycopg.connect(urls["MIGRATION_DATABASE_URL"], autocommit=True) as database:
        return [name for (name,) in database.execute(query) if name.startswith("instance-")]


def _check_unavailable(reply: Reply, outcome: str) -> None:
    assert (reply.status, reply.body["outcome"], reply.headers["retry-after"]) == (503, outcome, "1")
