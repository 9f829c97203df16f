"""Connections that a proxy shares among its clients: each client gets the replies to its own requests."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from itertools import product
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from attrs import frozen

from tests.conftest import Urls
from tests.support.issuer import bearer, guarded
from tests.support.proxies import haproxy, nginx
from tests.support.service import Service, judged_behind_proxy, running

# nginx's own way to pass WebSocket on, and one connection for all clients.
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
    """A service that asks for tokens, on the one server, then on the other."""
    keys = tmp_path_factory.mktemp("issuer") / "keys.json"
    with running(migrated, SERVER=request.param, **guarded(keys)) as service:
        yield service


@pytest.mark.needs("nginx")
def test_nginx_gives_each_learner_its_own_replies(service: Service) -> None:
    """A request in the body of one that offers an upgrade is not done, and no reply goes astray."""
    address = urlsplit(service.url).netloc
    _attack(service, nginx(FORWARD, MAP.format(address=address)))


@pytest.mark.needs("haproxy")
def test_haproxy_gives_each_learner_its_own_replies(service: Service) -> None:
    """A request in the body of one that offers an upgrade is not done, and no reply goes astray."""
    _attack(service, haproxy(BACKEND.format(address=urlsplit(service.url).netloc)))


@frozen
class Learner:
    """A learner's client, whose token it sends, and the path of the learner's session."""

    client: httpx.Client
    session: str

    def read(self) -> str:
        """Read the session; return the path of the one that came."""
        return f"/api/sessions/{self.client.get(self.session).json()['id']}"


def _attack(service: Service, proxy: AbstractContextManager[str]) -> None:
    """Let one learner send bodies that are requests, in turn with reads of each learner's session."""
    with ExitStack() as stack:
        url = stack.enter_context(proxy)
        attacker, victim = [_learner(stack.enter_context(judged_behind_proxy(url))) for _ in range(2)]
        request_id = f"smuggled-{uuid4()}"
        lines = [f"GET {attacker.session} HTTP/1.1", "host: x", f"x-request-id: {request_id}"]
        lines.append(f"authorization: {attacker.client.headers['authorization']}")
        body = "\r\n".join([*lines, "\r\n"]).encode()
        for upgrade, method, chunked in product(UPGRADES * ROUNDS, METHODS, (False, True)):
            path = "/api/sessions/start" if method == "POST" else f"{attacker.session}/progress"
            headers = {"connection": "Upgrade", "upgrade": upgrade, "content-type": "application/json"}
            content = iter([body]) if chunked else body
            refused = attacker.client.request(method, path, headers=headers, content=content)
            assert refused.status_code == 400
            assert [one.read() for one in (victim, attacker)] == [victim.session, attacker.session]
    assert request_id not in service.log.read_text()


def _learner(client: httpx.Client) -> Learner:
    """Start a session of a new learner's."""
    user = f"user-{uuid4()}"
    client.headers.update(bearer(user))
    started = client.post("/api/sessions/start", json={"user_id": user, "quiz_id": 7})
    assert started.status_code == 201
    return Learner(client, started.headers["location"])
