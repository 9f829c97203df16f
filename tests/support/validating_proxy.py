"""A proxy that holds every reply against the contract, for clients that are no Python of the tests' own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx

from tests.support import conformance
from tests.support.waiting import LIMIT

# What belongs to one connection (RFC 9110, 7.6.1), and what each side writes anew.
_HOP = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}

Fault = Callable[[int], str]
"""What becomes of the request of this number, counted from 0: `none`, `lost request` or `lost reply`."""


class Judge(ThreadingHTTPServer):
    """The proxy: `faults` may cut connections, `violations` are the replies that the contract lacks."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.client = httpx.Client(base_url=upstream, timeout=LIMIT)
        self.faults: Fault = lambda _: "none"
        self.requests = 0
        self.replies: list[tuple[str, int]] = []
        self.violations: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: Judge
    protocol_version = "HTTP/1.1"

    def __getattr__(self, name: str) -> Callable[[], None]:
        # The library asks for a method named after the request's.
        if name.startswith("do_"):
            return self._forward
        raise AttributeError(name)

    def _forward(self) -> None:
        fault = self.server.faults(self.server.requests)
        self.server.requests += 1
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = [(name, value) for name, value in self.headers.items() if name.lower() not in _HOP]
        if fault == "lost request":
            self.close_connection = True
            return
        reply = self.server.client.request(self.command, self.path, headers=headers, content=body)
        self._judge(reply)
        if fault == "lost reply":
            self.close_connection = True
            return
        self._answer(reply)

    def log_message(self, *_: object) -> None:
        pass

    def _judge(self, reply: httpx.Response) -> None:
        operation = conformance.operation(self.command, reply.request.url.path)
        self.server.replies.append((operation["operationId"] if operation else "none", reply.status_code))
        try:
            conformance.check(reply)
        except AssertionError as error:
            self.server.violations.append(str(error))

    def _answer(self, reply: httpx.Response) -> None:
        self.send_response_only(reply.status_code)
        for name, value in reply.headers.multi_items():
            if name not in _HOP:
                self.send_header(name, value)
        if reply.status_code not in (204, 304):
            self.send_header("content-length", str(len(reply.content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.content)


@contextmanager
def judging(upstream: str) -> Iterator[Judge]:
    """Run the proxy before a service; fail in the end if a reply was not the contract's."""
    with Judge(upstream) as judge:
        Thread(target=judge.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield judge
        finally:
            judge.shutdown()
            judge.client.close()
        assert judge.violations == []
        assert judge.replies
