"""Malformed and unusual requests: raw bytes for tests of request smuggling."""

from tests.support.raw_http import HEALTH, Target

GET = b"GET /health HTTP/1.1\r\nhost: x\r\n"
POST = b"POST /api/sessions/start HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"

# Requests that two parsers could read differently: end of the header, end of the body, or host.
AMBIGUOUS = {
    "both lengths": POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "both lengths, the other way round": POST
    + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"content-length: 0\r\ncontent-length: 5\r\n\r\n",
    "length +2": POST + b"content-length: +2\r\n\r\n{}",
    "length -2": POST + b"content-length: -2\r\n\r\n{}",
    "length 0x2": POST + b"content-length: 0x2\r\n\r\n{}",
    "no length": POST + b"content-length: \r\n\r\n{}",
    "bare line feeds": b"GET /health HTTP/1.1\nhost: x\n\n",
    "bare line feed": b"GET /health HTTP/1.1\r\nhost: x\r\na: b\nc: d\r\n\r\n",
    "bare line feed at the end": GET + b"\n",
    "bare carriage return": GET + b"a: b\rc: d\r\n\r\n",
    "folded line": GET + b"a: b\r\n c\r\n\r\n",
    "folded first line": b"GET /health HTTP/1.1\r\n host: x\r\n\r\n",
    "folded coding": POST + b"transfer-encoding:\r\n\tchunked\r\n\r\n0\r\n\r\n",
    "bad chunk size": CHUNKED + b"xyz\r\n",
    "chunk size 0x2": CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n",
    "chunk size -2": CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
    "chunk size without bounds": CHUNKED + b"F" * 21 + b"\r\n",
    "chunk without its end": CHUNKED + b"2\r\n{}0\r\n\r\n",
    "chunk with bare line feeds": CHUNKED + b"2\n{}\n0\n\n",
    "chunk extension with a bare line feed": CHUNKED + b"2;\nxx\r\n{}\r\n0\r\n\r\n",
    "folded trailer": CHUNKED + b"2\r\n{}\r\n0\r\na: b\r\n c\r\n\r\n",
    "broken trailer": CHUNKED + b"2\r\n{}\r\n0\r\nX\r\n\r\n",
    "unknown coding": POST + b"transfer-encoding: gzip\r\n\r\n0\r\n\r\n",
    "two codings": POST + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "codings on two lines": POST + b"transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "codings on two lines, with an upgrade": POST
    + b"connection: upgrade\r\nupgrade: x\r\n"
    + b"transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding twice": POST + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "misspelt coding": POST + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "coding of HTTP/1.0": CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n",
    "coding with a space": POST + b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "another HTTP/2": b"GET /health HTTP/2.0\r\nhost: x\r\n\r\n",
    "HTTP/0.9": b"GET /health\r\n\r\n",
    "no ASCII": b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "two hosts": GET + b"host: y\r\n\r\n",
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "NUL in a value": GET + b"a: \0\r\n\r\n",
    "NUL in a name": GET + b"a\0: b\r\n\r\n",
    "space before a colon": GET + b"a : b\r\n\r\n",
    "no colon": GET + b"abc\r\n\r\n",
    "no name": GET + b": b\r\n\r\n",
}

UPGRADE = GET + b"connection: upgrade, http2-settings\r\nupgrade: "
NOWHERE: Target = ("GET", "/nowhere")

# Unusual requests that are valid: bytes, target and status of the response.
VALID = {
    "h2c": (UPGRADE + b"h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n", HEALTH, 200),
    "WebSocket": (UPGRADE + b"websocket\r\nsec-websocket-version: 13\r\n\r\n", HEALTH, 200),
    "a whole URL": (b"GET http://evil/health HTTP/1.1\r\nhost: x\r\n\r\n", HEALTH, 200),
    "a whole URL of another scheme": (b"GET ftp://x/health HTTP/1.1\r\nhost: x\r\n\r\n", NOWHERE, 404),
    "*": (b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n", NOWHERE, 404),
    "an empty line before it": (b"\r\n" + GET + b"\r\n", HEALTH, 200),
    "a coding in capitals": (
        GET.replace(b"/health", b"/nowhere") + b"transfer-encoding: CHUNKED\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        NOWHERE,
        404,
    ),
    "an unexpected body": (
        GET.replace(b"/health", b"/nowhere") + b"content-length: 2\r\n\r\n{}",
        NOWHERE,
        404,
    ),
}

# Requests that are the last of their connection.
CLOSING = {
    "CONNECT": (b"CONNECT evil:80 HTTP/1.1\r\nhost: x\r\n\r\n", NOWHERE, 404),
    "CONNECT to a path": (b"CONNECT /health HTTP/1.1\r\nhost: x\r\n\r\n", ("CONNECT", "/health"), 405),
    "close": (GET + b"connection: close\r\n\r\n", HEALTH, 200),
    "close and an upgrade": (GET + b"connection: close, upgrade\r\nupgrade: h2c\r\n\r\n", HEALTH, 200),
    "HTTP/1.0": (b"GET /health HTTP/1.0\r\n\r\n", HEALTH, 200),
}
