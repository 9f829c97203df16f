"""Posts to one endpoint: judged addresses, certificates, redirects, bounds of responses and of time."""

import asyncio
import json
import os
import re
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509

from session_service.webhooks import endpoints
from session_service.webhooks import sender as module
from session_service.webhooks.addresses import Resolver
from session_service.webhooks.sender import Reply, Sender
from tests.support.authority import LOOPBACK, OTHER_HOST, Authority
from tests.support.receiver import Response, receiving
from tests.support.waiting import LIMIT, eventually_async
from tests.support.webhooks import SECRET, bounded, local, post

LOCALHOST = x509.DNSName("localhost")
PORT = 64999  # of no other look-up
NOT_ALLOWED = "no address of its host is allowed"


def reasons(tmp_path: Path, *urls: str, **fields: object) -> str:
    """Post to each URL, which must fail; return the reasons."""
    found = post(tmp_path, *urls, **fields)
    assert all(isinstance(reason, str) for reason in found), found
    return "\n".join(map(str, found))


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """An authority that this process trusts, and no other."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    return authority


def test_a_trusted_endpoint_receives_over_tls(tmp_path: Path, authority: Authority) -> None:
    """A certificate for the name or the address in the URL is accepted, and the message is signed."""
    for host, name in (("127.0.0.1", LOOPBACK), ("localhost", LOCALHOST)):
        with receiving(authority.certify(name)) as receiver:
            assert post(tmp_path, receiver.url(host)) == [Reply(204, 0)]
            (request,) = receiver.requests
            assert request.verify(SECRET) == {"a": "é"}
            assert (request.id, request.headers["host"]) == ("id_1", f"{host}:{receiver.port}")


def test_a_server_with_a_wrong_certificate_gets_no_event(tmp_path: Path, authority: Authority) -> None:
    """A server with a certificate that is wrong, of no trusted authority or expired receives nothing."""
    faults = {
        "certificate is not valid for '127.0.0.1'": authority.certify(OTHER_HOST, LOCALHOST),
        "unable to get local issuer certificate": Authority(tmp_path).certify(LOOPBACK),
        "certificate has expired": authority.certify(LOOPBACK, hours=-1),
        "ConnectError": None,
    }
    for reason, tls in faults.items():
        with receiving(tls) as receiver:
            receiver.scheme = "https"
            assert reason in reasons(tmp_path, receiver.url())
            assert receiver.requests == []


def test_an_error_of_tls_after_the_handshake_is_a_failure(tmp_path: Path, authority: Authority) -> None:
    """An alert or bytes that are no TLS, after the handshake, fail the post like any other fault."""
    tls = authority.certify(LOOPBACK)

    def serve(listener: socket.socket) -> None:
        with listener.accept()[0] as plain, tls.wrap_socket(plain, server_side=True) as secure:
            secure.recv(65536)
            os.write(secure.fileno(), b"HTTP/1.1 400 Bad Request\r\n\r\n")
            # Until the client closes: a reset could overtake the bytes.
            with suppress(OSError):
                while secure.recv(65536):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        assert "SSLError" in reasons(tmp_path, f"https://127.0.0.1:{listener.getsockname()[1]}/")
        thread.join()


def test_private_addresses_need_a_setting(tmp_path: Path, authority: Authority) -> None:
    """Without `private` no connection is made to this machine or a private network, by whichever name."""
    hosts = ["127.0.0.1", "localhost", "0x7f.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"]  # noqa: S104
    with receiving(authority.certify(LOOPBACK, LOCALHOST)) as receiver:
        found = post(tmp_path, *(receiver.url(host) for host in hosts), private=False)
        assert [NOT_ALLOWED in str(reason) for reason in found] == [True] * len(hosts)
        assert receiver.connections == 0


def test_no_setting_allows_metadata_and_other_special_addresses(tmp_path: Path) -> None:
    """With `private`, link-local, multicast and unspecified addresses are refused; http also public ones."""
    hosts = ["169.254.169.254", "[fe80::1]", "224.0.0.1", "0.0.0.0", "[::]", "1.1.1.1"]  # noqa: S104
    found = post(tmp_path, *(f"http://{host}:81/" for host in hosts))
    assert [NOT_ALLOWED in str(reason) for reason in found] == [True] * len(hosts)
    assert NOT_ALLOWED in reasons(tmp_path, "https://169.254.169.254/", "https://nowhere.invalid/")


def test_redirects_are_not_followed(tmp_path: Path) -> None:
    """A redirect is a response like any other: its target gets no request."""
    with receiving() as target, receiving() as receiver:
        receiver.respond = lambda _: Response(307, {"Location": target.url()})
        assert post(tmp_path, receiver.url()) == [Reply(307, 0)]
        assert target.connections == 0


def test_bodies_of_responses_are_bounded(tmp_path: Path) -> None:
    """The status counts with any body: large, endless, or announced and not sent."""
    bodies = [
        Response(200, body=b"x" * 1000),
        Response(200, body=b"x" * 10_000_000),
        Response(200, body=b"x" * 10_000, endless=True),
        Response(200, {"content-length": "1000"}, endless=True),
    ]
    with receiving() as receiver:
        receiver.respond = lambda _: bodies[len(receiver.requests) - 1]
        assert post(tmp_path, *[receiver.url()] * 4) == [Reply(200, 0)] * 4


def test_headers_of_responses_are_bounded(tmp_path: Path) -> None:
    """A response with more than 100 KiB of headers is a failure."""
    with receiving() as receiver:
        receiver.respond = lambda _: Response(200, {f"x-{number}": "x" * 1000 for number in range(200)})
        assert "RemoteProtocolError" in reasons(tmp_path, receiver.url())


def test_an_endpoint_without_a_response_fails_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A post ends after its timeout, whichever part of it takes so long."""
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    release = threading.Event()

    def wait(_: object) -> Response:
        release.wait(LIMIT)
        return Response()

    with receiving() as receiver:
        receiver.respond = wait
        assert re.fullmatch("no response within 0 seconds", reasons(tmp_path, receiver.url()))
        release.set()


def test_connections_are_used_again(tmp_path: Path) -> None:
    """A second event goes over the connection of the first one, each with its own signature."""
    with receiving() as receiver:
        file = tmp_path / "webhooks.json"
        file.write_text(json.dumps({"e": local(receiver.url())}))

        async def run() -> None:
            async with Sender(endpoints.read(file)[0]) as sender:
                for number in range(3):
                    await sender.post(f"id_{number}", b"{}")

        bounded(run())
        assert (len(receiver.requests), receiver.connections) == (3, 1)
        assert [request.verify(SECRET) for request in receiver.requests] == [{}] * 3


def test_one_look_up_at_a_time() -> None:
    """All that ask for the addresses of a host wait for one look-up; one that gives up does not end it."""
    looked_up: list[object] = []
    answer = threading.Event()

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        # In the thread of the look-up, which a name server delays.
        if event == "socket.getaddrinfo" and arguments[1] == PORT:
            looked_up.append(arguments[0])
            answer.wait(LIMIT)

    sys.addaudithook(watch)

    async def run() -> None:
        resolver = Resolver("127.0.0.1", PORT)
        tasks = [asyncio.create_task(resolver.resolve()) for _ in range(3)]
        await eventually_async(lambda: looked_up)
        tasks[0].cancel()
        tasks.append(asyncio.create_task(resolver.resolve()))
        await asyncio.sleep(0)
        answer.set()
        assert [list(map(str, await task)) for task in tasks[1:]] == [["127.0.0.1"]] * 3
        assert len(looked_up) == 1
        await resolver.resolve()
        assert len(looked_up) == 2

    bounded(run())
