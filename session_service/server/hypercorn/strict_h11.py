"""Strict h11: rejects ambiguous requests that h11 accepts, against request smuggling.

A proxy could read such a request as two. Rejected are bare line feeds, folded lines, more than one length and
other versions of HTTP (RFC 9112, 2.2, 5.2 and 6.1).
"""

import re

import h11
from h11._receivebuffer import ReceiveBuffer

from session_service.server.connections import MAX_HEADER_BYTES, MAX_HEADERS

_FRAMING = {b"content-length", b"transfer-encoding"}

_FOLDED = re.compile(rb"\n[ \t]")
_BARE_LF_OR_FOLDED = re.compile(rb"(?<!\r)\n|\n[ \t]")


class H11Connection(h11.Connection):
    """Parses requests and encodes responses of one connection."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_HEADER_BYTES)
        self._receive_buffer = _Buffer(self)

    @property
    def has_more(self) -> bool:
        """Whether unparsed bytes are buffered."""
        return bool(self._receive_buffer)

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Return the next event; raise RemoteProtocolError for an ambiguous request."""
        event = super().next_event()
        if type(event) is h11.Request and not _is_unambiguous(event):
            raise h11.RemoteProtocolError("another version of HTTP, or two lengths")
        return event


def _is_unambiguous(request: h11.Request) -> bool:
    """Return whether the request is HTTP/1 and has at most one framing header (RFC 9112, 6.1)."""
    framing = [name for name, _ in request.headers if name in _FRAMING]
    if request.http_version == b"1.1":
        return len(framing) < 2
    return request.http_version == b"1.0" and framing in ([], [b"content-length"])


class _Buffer(ReceiveBuffer):
    """Buffers received bytes and splits headers into lines that end in CR LF and are not folded."""

    def __init__(self, connection: H11Connection) -> None:
        super().__init__()
        self._connection = connection

    def maybe_extract_lines(self) -> list[bytearray] | None:
        if self._data.startswith(b"\r\n"):
            if self._connection.their_state is not h11.IDLE:
                return super().maybe_extract_lines()
            # RFC 9112, 2.2: some clients send an empty line after a body.
            self._extract(2)
        end = self._data.find(b"\r\n\r\n", self._multiple_lines_search)
        size = len(self._data) if end < 0 else end + 4
        if size > MAX_HEADER_BYTES:
            raise h11.LocalProtocolError("too long", error_status_hint=431)
        # h11 itself rejects a bare line feed within a complete line.
        forbidden = _BARE_LF_OR_FOLDED if end < 0 else _FOLDED
        if forbidden.search(self._data, max(0, self._multiple_lines_search - 1), size):
            raise h11.LocalProtocolError("a bare line feed, or a folded line")
        if end < 0:
            self._multiple_lines_search = max(0, size - 3)
            return None
        lines = self._extract(size).split(b"\r\n")[:-2]
        if len(lines) > MAX_HEADERS + 1:
            raise h11.LocalProtocolError("too many lines", error_status_hint=431)
        return lines
