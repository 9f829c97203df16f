"""Issues tokens for the tests: keys, signed tokens, and servers and files with the JWK Set."""

import asyncio
import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import NameOID

from session_service.api.auth.bearer import BearerAuthenticator
from session_service.api.auth.principal import Principal
from session_service.api.errors import UnauthenticatedError
from session_service.settings import ALGORITHMS, TokenSettings
from tests.support.waiting import LIMIT

ISSUER = "https://issuer.test/"
AUDIENCE = "session-service"
SERVICE_SCOPE = "sessions:any"

_CURVES: dict[str, ec.EllipticCurve] = {
    "ES256": ec.SECP256R1(),
    "ES384": ec.SECP384R1(),
    "ES512": ec.SECP521R1(),
    "ES256K": ec.SECP256K1(),
}


@frozen
class Key:
    """A private key of the issuer, with its kid and its signature algorithm."""

    name: str | None
    algorithm: str
    private: Any

    def token(
        self, subject: object = "ada", *, header: dict[str, Any] | None = None, **changed: object
    ) -> str:
        """Return a token for the subject; changed claims and headers of None are omitted."""
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 900, **changed}
        head = {"kid": self.name, **(header or {})}
        return jwt.encode(
            {name: value for name, value in claims.items() if value is not None},
            self.private,
            self.algorithm,
            {name: value for name, value in head.items() if value is not None},
        )

    def published(self, **changed: object) -> dict[str, Any]:
        """Return the public key as a JWK; changed members of None are omitted."""
        known = jwt.get_algorithm_by_name(self.algorithm)
        entry = known.to_jwk(self.private.public_key(), as_dict=True)
        entry |= {"kid": self.name, "alg": self.algorithm, "use": "sig", "key_ops": None, **changed}
        return {name: value for name, value in entry.items() if value is not None}


def make_key(name: str | None, algorithm: str = "ES256") -> Key:
    """Make a key for the algorithm."""
    if algorithm in _CURVES:
        return Key(name, algorithm, ec.generate_private_key(_CURVES[algorithm]))
    if algorithm == "EdDSA":
        return Key(name, algorithm, ed25519.Ed25519PrivateKey.generate())
    return Key(name, algorithm, rsa_key(2048))


def make_ed448_key(name: str) -> Key:
    """Make an EdDSA key on the curve Ed448."""
    return Key(name, "EdDSA", ed448.Ed448PrivateKey.generate())


@cache
def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    """Return an RSA key of the size, cached because generating one is slow."""
    return rsa.generate_private_key(65537, bits)


def jwks(*entries: Key | dict[str, Any]) -> bytes:
    """Return a JWK Set of these keys."""
    listed = [entry.published() if isinstance(entry, Key) else entry for entry in entries]
    return json.dumps({"keys": listed}).encode()


KEY = make_key("test")
"""The key for tests of other features."""


def token_settings(place: Path) -> dict[str, str]:
    """Return the settings of a service that accepts tokens of KEY, and write its JWK Set to the path."""
    place.write_bytes(jwks(KEY))
    return {"AUTH": "jwt", "JWT_KEYS": str(place), "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE}


def bearer(subject: str, **claims: Any) -> dict[str, str]:
    """Return a request header with a token of KEY for the subject."""
    return {"authorization": f"Bearer {KEY.token(subject, **claims)}"}


def bearer_authenticator(place: Path | str, *algorithms: str) -> BearerAuthenticator:
    """Return an authenticator for the keys at the path or URL; by default with all algorithms."""
    return BearerAuthenticator(
        TokenSettings(str(place), ISSUER, AUDIENCE, algorithms or ALGORITHMS, SERVICE_SCOPE)
    )


def with_authenticator(
    place: Path | str, test: Callable[[BearerAuthenticator], Awaitable[None]], *algorithms: str
) -> None:
    """Run the test with an authenticator for the keys at the path or URL."""

    async def bounded() -> None:
        async with asyncio.timeout(LIMIT), bearer_authenticator(place, *algorithms) as authenticator:
            await test(authenticator)

    asyncio.run(bounded())


def request_scope(*credentials: bytes | str) -> dict[str, Any]:
    """Return the ASGI scope of a request with these Authorization headers."""
    values = [value.encode() if isinstance(value, str) else value for value in credentials]
    return {"headers": [(b"host", b"x"), *((b"authorization", value) for value in values)]}


async def authenticate(authenticator: BearerAuthenticator, token: str) -> Principal:
    """Return the principal of the token."""
    return await authenticator.authenticate(request_scope(f"Bearer {token}"))


async def is_rejected(authenticator: BearerAuthenticator, token: str) -> bool:
    """Return whether the token is rejected."""
    try:
        await authenticate(authenticator, token)
    except UnauthenticatedError:
        return True
    return False


class JwksServer:
    """Serves a JWK Set over HTTPS at a fixed address, and counts the requests."""

    def __init__(self, folder: Path) -> None:
        self.authority, self._certificate = _certify(folder)
        self.content = b""
        self.status = 200
        self.requests = 0
        self.headers: dict[str, str] = {}
        # While this is not set, a response stops after its first byte.
        self.flows = threading.Event()
        self.flows.set()
        self.pause = 0.0  # pause after each byte, in seconds
        self.port = 0

    @property
    def url(self) -> str:
        """The URL of the JWK Set."""
        return f"https://127.0.0.1:{self.port}/keys"

    @contextmanager
    def open(self) -> Iterator[None]:
        """Serve until the end of the block, then refuse connections."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certificate)
        with _Server(self) as server:
            self.port = server.server_port
            server.socket = context.wrap_socket(server.socket, server_side=True)
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield
            finally:
                self.flows.set()
                server.shutdown()
                thread.join()


class _Server(ThreadingHTTPServer):
    def __init__(self, site: JwksServer) -> None:
        super().__init__(("127.0.0.1", site.port), _Handler)
        self.site = site


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        site = self.server.site
        site.requests += 1
        self.send_response(site.status)
        for name, value in site.headers.items():
            self.send_header(name, value)
        self.end_headers()
        # The client may close the connection early.
        with suppress(OSError):
            self.wfile.write(site.content[:1])
            site.flows.wait(LIMIT)
            for place in range(1, len(site.content)) if site.pause else ():
                time.sleep(site.pause)
                self.wfile.write(site.content[place : place + 1])
            self.wfile.write(b"" if site.pause else site.content[1:])

    def log_message(self, *_: object) -> None:
        pass


def _certify(folder: Path) -> tuple[Path, Path]:
    """Make a certificate authority and a certificate for 127.0.0.1; return their files."""
    authority, site = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority.test")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer.test")])
    loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    root = _certificate(issuer, issuer, authority, authority, x509.BasicConstraints(ca=True, path_length=0))
    leaf = _certificate(subject, issuer, site, authority, loopback)
    key = site.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    files = folder / "authority.pem", folder / "site.pem"
    files[0].write_bytes(root)
    files[1].write_bytes(key + leaf)
    return files


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> bytes:
    now = datetime.now(UTC)
    built = x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(minutes=5),
        not_valid_after=now + timedelta(hours=1),
    ).add_extension(extension, critical=True)
    return built.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
