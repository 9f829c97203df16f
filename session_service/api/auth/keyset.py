"""A set of public keys, as issuers publish it: a JWKS (RFC 7517)."""

import json
from itertools import groupby
from typing import Any

import jwt
from attrs import frozen
from jwt.algorithms import AllowedPublicKeys

# What a key can check, by its type and curve. A shared secret ("oct") checks nothing: whoever has it to check
# tokens can make them, too.
_FITTING: dict[object, tuple[str, ...]] = {
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
    ("OKP", "Ed448"): ("EdDSA",),
}


class KeysError(Exception):
    """A key set that cannot be had, or not be used; the text says why, and not where it was sought."""


@frozen
class Key:
    """A public key, the name that tokens call it by, and the algorithms that it checks."""

    name: str | None
    public: AllowedPublicKeys
    algorithms: tuple[str, ...]


@frozen
class KeySet:
    """The keys as they were read, by their names; the only key of a set goes without one, too."""

    content: bytes
    keys: dict[str | None, list[Key]]

    @classmethod
    def read(cls, content: bytes, algorithms: tuple[str, ...]) -> "KeySet":
        """Read a JWKS; raise KeysError if it has no key for any of the algorithms."""
        try:
            entries = list(json.loads(content)["keys"])
        except (ValueError, RecursionError, KeyError, TypeError):
            raise KeysError("what is there is no JWKS") from None
        found = [key for entry in entries if isinstance(entry, dict) and (key := _key(entry, algorithms))]
        named = sorted((key for key in found if key.name is not None), key=_name)
        keys: dict[str | None, list[Key]] = {name: list(group) for name, group in groupby(named, _name)}
        if len(found) == 1:
            keys[None] = found
        if not keys:
            raise KeysError("there is no key for JWT_ALGORITHMS, or more than one and none with a kid")
        return cls(content, keys)


def _key(entry: dict[str, Any], wanted: tuple[str, ...]) -> Key | None:
    """Return the entry as a key for the wanted algorithms, if it is a public one for signatures."""
    try:
        checks = entry.get("use", "sig") == "sig" and "verify" in entry.get("key_ops", ["verify"])
        fitting = _FITTING.get((entry.get("kty"), entry.get("crv")), ())
        algorithms = tuple(name for name in fitting if name in wanted and entry.get("alg", name) == name)
        name = entry.get("kid")
        if not checks or not algorithms or "d" in entry or not isinstance(name, str | None):
            return None
        key = jwt.PyJWK(entry, algorithms[0])
    except (TypeError, ValueError, jwt.PyJWTError):
        return None
    # The library only warns of a key that is too short.
    return Key(name, key.key, algorithms) if key.Algorithm.check_key_length(key.key) is None else None


def _name(key: Key) -> str:
    return key.name or ""
