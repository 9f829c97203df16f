"""A receiver of webhooks: a real HTTP or HTTPS server that keeps each request and responds as it is told."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from attrs import field, frozen
from standardwebhooks import Webhook

from tests.support.waiting import LIMIT, eventually


@frozen
class Request:
    """A request: its path, its headers with lower-case names, and its body."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """The id of the message."""
        return self.headers["webhook-id"]

    @property
    def message(self) -> dict[str, Any]:
        """The body, parsed."""
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed

    def verify(self, secret: str) -> Any:
        """Return the body if the signature is one of the secret; raise WebhookVerificationError if not."""
        return Webhook(secret).verify(self.body, dict(self.headers))


@frozen
class Response:
    """A response; an endless one repeats its body until the client closes the connection."""

    status: int = 204
    headers: Mapping[str, str] = field(factory=dict)
    body: bytes = b""
    endless: bool = False


class Receiver:
    """Receives on a port of the loopback address."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.respond: Callable[[Request], Response] = lambda _: Response()
        self.connections = 0
        self.closed = threading.Event()
        self.scheme = "http"
        self.port = 0

    def url(self, host: str = "127.0.0.1", path: str = "/hooks") -> str:
        """Return the URL of the receiver with a name or address of this machine."""
        return f"{self.scheme}://{host}:{self.port}{path}"

    @property
    def ids(self) -> list[str]:
        """The ids of all received messages, in order."""
        return [request.id for request in self.requests]

    def await_requests(self, count: int) -> list[Request]:
        """Wait until there are so many requests, and return all."""
        eventually(lambda: len(self.requests) >= count, lambda: self.ids)
        return self.requests


@contextmanager
def receiving(tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Receiver]:
    """Receive until the end of the block, then refuse connections."""
    receiver = Receiver()
    with _Server(receiver, port, tls) as server:
        receiver.port = server.server_port
        receiver.scheme = "https" if tls else "http"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield receiver
        finally:
            receiver.closed.set()
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, receiver: Receiver, port: int, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.receiver = receiver
        self.tls = tls

    def finish_request(self, request: Any, client_address: Any) -> None:
        # In the connection's own thread: a client that refuses the certificate holds up no other.
        self.receiver.connections += 1
        with suppress(OSError), ExitStack() as stack:
            if self.tls:
                request = stack.enter_context(self.tls.wrap_socket(request, server_side=True))
            super().finish_request(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = LIMIT

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.path, headers, self.rfile.read(length))
        self.server.receiver.requests.append(request)
        response = self.server.receiver.respond(request)
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if not response.endless and response.status != 204:
            self.send_header("content-length", str(len(response.body)))
        self.end_headers()
        self.wfile.write(response.body)
        while response.endless and not self.server.receiver.closed.wait(0 if response.body else 0.02):
            self.wfile.write(response.body)

    do_GET = do_POST  # noqa: N815 - the name of the standard library

    def log_message(self, *_: object) -> None:
        pass
