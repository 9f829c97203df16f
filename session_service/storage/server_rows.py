"""Classes of the rows of statements about the server and its connections."""

import attrs


@attrs.frozen
class ConnectionSetting:
    """A setting of a connection that a process serves: its value, and the value before (`held`).

    `stored` is the value with which new connections of the role begin. If a connection pooler is before the
    process (`pooled`), the value holds until the transaction ends.
    """

    name: str
    value: str
    held: str | None
    stored: str | None
    pooled: bool
    pid: int


@attrs.frozen
class UnfitSetting:
    """A setting of PostgreSQL with an unsuitable value, and the value that the service needs."""

    name: str
    value: str
    needed: str


@attrs.frozen
class ConnectionLimits:
    """The connections that the server, the database and the role let in; -1: no limit."""

    server: int
    database: int
    role: int


@attrs.frozen
class Timeline:
    """The identifier of a database cluster, and the timeline that the server writes; None on a standby."""

    cluster: int
    timeline: int | None
