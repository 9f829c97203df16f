"""A validation proxy: validates every response against the contract, for clients outside the test process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx

from tests.support import conformance
from tests.support.waiting import LIMIT

# Headers of one connection (RFC 9110, 7.6.1), and headers that the proxy writes itself.
_HOP = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}

Fault = Callable[[int], str]
"""Fault of a request by its number, counted from 0: `none`, `lost request` or `lost response`."""

Change = Callable[[bytes], bytes]
"""Change of the content of a response, after its validation."""


class ValidatingProxy(ThreadingHTTPServer):
    """The proxy: `faults` injects faults, `violations` collects responses that break the contract."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.client = httpx.Client(base_url=upstream, timeout=LIMIT)
        self.faults: Fault = lambda _: "none"
        self.change: Change = lambda content: content
        self.requests = 0
        self.responses: list[tuple[str, int]] = []
        self.violations: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: ValidatingProxy
    protocol_version = "HTTP/1.1"

    def __getattr__(self, name: str) -> Callable[[], None]:
        # The base class calls a method that is named after the method of the request.
        if name.startswith("do_"):
            return self._forward
        raise AttributeError(name)

    def _forward(self) -> None:
        fault = self.server.faults(self.server.requests)
        self.server.requests += 1
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = [(name, value.strip()) for name, value in self.headers.items() if name.lower() not in _HOP]
        if fault == "lost request":
            self.close_connection = True
            return
        response = self.server.client.request(self.command, self.path, headers=headers, content=body)
        self._validate(response)
        if fault == "lost response":
            self.close_connection = True
            return
        self._send(response)

    def log_message(self, *_: object) -> None:
        pass

    def _validate(self, response: httpx.Response) -> None:
        operation = conformance.operation(self.command, response.request.url.path)
        self.server.responses.append(
            (operation["operationId"] if operation else "none", response.status_code)
        )
        try:
            conformance.check(response)
        except AssertionError as error:
            self.server.violations.append(str(error))

    def _send(self, response: httpx.Response) -> None:
        content = self.server.change(response.content)
        self.send_response_only(response.status_code)
        for name, value in response.headers.multi_items():
            if name not in _HOP:
                self.send_header(name, value)
        if response.status_code not in (204, 304):
            self.send_header("content-length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def validating_proxy(upstream: str) -> Iterator[ValidatingProxy]:
    """Run the proxy in front of a service; fail at the end if a response broke the contract."""
    with ValidatingProxy(upstream) as proxy:
        Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            proxy.client.close()
        assert proxy.violations == []
        assert proxy.responses
