"""Tests of request smuggling behind proxies that share connections among clients."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from itertools import product
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from attrs import frozen

from tests.conftest import Urls
from tests.support.issuer import bearer, token_settings
from tests.support.proxies import haproxy, nginx
from tests.support.service import Service, running, validated_client_behind_proxy

# nginx's documented way to forward upgrades, and one upstream connection for all clients.
MAP = """
map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
upstream service {{ server {address}; keepalive 1; }}
"""
FORWARD = """
location / {
  proxy_pass http://service;
  proxy_http_version 1.1;
  proxy_set_header Upgrade $http_upgrade;
  proxy_set_header Connection $connection_upgrade;
}
"""
BACKEND = """
  http-reuse always
  server service {address} maxconn 1
"""
UPGRADES = ("websocket", "h2c", "foo")
METHODS = ("POST", "PUT", "PATCH")
ROUNDS = 4


@pytest.fixture(scope="module", params=["hypercorn", "uvicorn"])
def service(
    request: pytest.FixtureRequest, migrated: Urls, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A service that requires tokens, on Hypercorn, then on uvicorn."""
    keys = tmp_path_factory.mktemp("issuer") / "keys.json"
    with running(migrated, SERVER=request.param, **token_settings(keys)) as service:
        yield service


@pytest.mark.needs("nginx")
def test_no_smuggling_behind_nginx(service: Service) -> None:
    """Behind nginx, a request in a body with an upgrade is not executed, and no response is mixed up."""
    address = urlsplit(service.url).netloc
    _attack(service, nginx(FORWARD, MAP.format(address=address)))


@pytest.mark.needs("haproxy")
def test_no_smuggling_behind_haproxy(service: Service) -> None:
    """Behind HAProxy, a request in a body with an upgrade is not executed, and no response is mixed up."""
    _attack(service, haproxy(BACKEND.format(address=urlsplit(service.url).netloc)))


@frozen
class Learner:
    """The client of a learner, and the path of its session."""

    client: httpx.Client
    session: str

    def read(self) -> str:
        """Read the session; return the path of the session in the response."""
        return f"/api/sessions/{self.client.get(self.session).json()['id']}"


def _attack(service: Service, proxy: AbstractContextManager[str]) -> None:
    """Let one learner send bodies that contain requests, each followed by reads of two learners."""
    with ExitStack() as stack:
        url = stack.enter_context(proxy)
        attacker, victim = [
            _learner(stack.enter_context(validated_client_behind_proxy(url))) for _ in range(2)
        ]
        request_id = f"smuggled-{uuid4()}"
        lines = [f"GET {attacker.session} HTTP/1.1", "host: x", f"x-request-id: {request_id}"]
        lines.append(f"authorization: {attacker.client.headers['authorization']}")
        body = "\r\n".join([*lines, "\r\n"]).encode()
        for upgrade, method, chunked in product(UPGRADES * ROUNDS, METHODS, (False, True)):
            path = "/api/sessions/start" if method == "POST" else f"{attacker.session}/progress"
            headers = {"connection": "Upgrade", "upgrade": upgrade, "content-type": "application/json"}
            content = iter([body]) if chunked else body
            rejected = attacker.client.request(method, path, headers=headers, content=content)
            assert rejected.status_code == 400
            assert [one.read() for one in (victim, attacker)] == [victim.session, attacker.session]
    assert request_id not in service.log.read_text()


def _learner(client: httpx.Client) -> Learner:
    """Start a session of a new learner."""
    user = f"user-{uuid4()}"
    client.headers.update(bearer(user))
    started = client.post("/api/sessions/start", json={"user_id": user, "quiz_id": 7})
    assert started.status_code == 201
    return Learner(client, started.headers["location"])
