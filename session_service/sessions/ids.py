"""Makes the ids of sessions, which carry the place of their user."""

import hashlib
from uuid import UUID, uuid4


def new_session_id(user_id: str) -> UUID:
    """Return a new UUID v4 whose first 16 bits are those of the SHA-256 of the user id in UTF-8.

    All sessions of a user have the same first 16 bits. A service that is spread over several databases can
    find from them the database of a session by its id alone.
    """
    place = hashlib.sha256(user_id.encode()).digest()[:2]
    return UUID(bytes=place + uuid4().bytes[2:])
