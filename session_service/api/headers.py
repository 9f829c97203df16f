"""Parses request headers into types: conditions on entity tags (RFC 9110, 13) and Cache-Control."""

import re
from typing import NewType

from attrs import frozen

from session_service.sessions import codec
from session_service.sessions.models import IdempotencyKey

INT32_MAX = 2_147_483_647

# An entity tag that a proxy has made weak, or has marked with its compression, still names the version.
_ENTITY_TAGS = re.compile(r'[ \t,]*(?:W/)?"[^"]*"(?:[ \t]*,[ \t,]*(?:W/)?"[^"]*")*[ \t,]*')
_VERSION_TAG = re.compile(r'"([1-9][0-9]{0,9})(?:--?(?:br|deflate|gzip|zstd))?"')

IfMatch = NewType("IfMatch", tuple[int, ...])
"""The versions that `If-Match` names; empty if none of its entity tags is a version."""

NoCache = NewType("NoCache", bool)
"""Whether `Cache-Control` asks for a read from the database."""


@frozen
class IfNoneMatch:
    """The versions that `If-None-Match` names; `any` is true for `*`."""

    versions: frozenset[int] = frozenset()
    any: bool = False

    @property
    def newest(self) -> int:
        """The newest version that the client has seen, 0 if it names none."""
        return max(self.versions, default=0)

    def matches(self, version: int) -> bool:
        """Return whether the client has this version."""
        return self.any or version in self.versions


def expected_versions(version: int | None, if_match: IfMatch | None) -> tuple[int, ...] | None:
    """Return the versions to which a change may be applied, None for any; the body's takes precedence."""
    return if_match if version is None else (version,)


def names_tag(if_none_match: str, etag: str) -> bool:
    """Return whether the header names the ETag, which a proxy may have made weak or marked, or is `*`."""
    return if_none_match.strip() == "*" or etag.strip('"') in if_none_match


def _parse_if_none_match(text: str) -> IfNoneMatch:
    return IfNoneMatch(frozenset(_versions(text)), text.strip() == "*")


def _parse_if_match(text: str) -> IfMatch | None:
    return None if text.strip() == "*" else IfMatch(_versions(text))


def _versions(tags: str) -> tuple[int, ...]:
    """Return the versions in a list of entity tags (RFC 9110, 8.8.3), none if the list is invalid."""
    if not _ENTITY_TAGS.fullmatch(tags):
        return ()
    versions = (int(version) for version in _VERSION_TAG.findall(tags))
    return tuple(version for version in versions if version <= INT32_MAX)


def _parse_idempotency_key(text: str) -> str:
    """Return the key; of a quoted one (sf-string, RFC 8941, 3.3.3) the text between the quotes."""
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text


codec.register(IdempotencyKey, _parse_idempotency_key)
codec.register(IfNoneMatch, _parse_if_none_match)
codec.register(IfMatch, _parse_if_match)
codec.register(NoCache, lambda text: "no-cache" in text.lower())
