"""The bare servers: an application that only replies like a GET of a session, as the least that each costs.

python -m dev.bench.bare hypercorn|uvicorn, with PORT in the environment; peers/granian serves the same one.
"""

import json
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

TIME = "2026-11-23T02:34:47.597Z"
BODY = orjson.dumps(
    {
        "id": "375ff904-1036-408e-986d-951eaf8fd369",
        "status": "in_progress",
        "version": 1,
        "user_id": "user-123",
        "quiz_id": 7,
        "current_question": 0,
        "answers": orjson.Fragment(json.dumps({str(n): "answer 10" for n in range(1, 21)})),
        "annotations": {},
        "attempt": None,
        "metadata": {},
        "started_at": TIME,
        "expires_at": TIME,
        "closes_at": TIME,
        "on_expiry": "expire",
        "late_saves": 0,
        "last_saved_at": TIME,
        "completed_at": None,
        "ended_by": None,
        "created_at": TIME,
        "updated_at": TIME,
    }
)
HEADERS = [
    (b"etag", b'"1"'),
    (b"session-expires-at", TIME.encode()),
    (b"session-now", TIME.encode()),
    (b"cache-control", b"private, no-cache"),
    (b"content-length", b"%d" % len(BODY)),
    (b"content-type", b"application/json"),
    (b"x-request-id", b"a84f837a-f6e9-4641-8df0-89b6ed45ac7f"),
]

Message = dict[str, Any]


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Read the body and reply."""
    if scope["type"] == "lifespan":
        for event in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{event}.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


# Each process imports the one server that it runs.
def _hypercorn(port: int) -> None:
    import uvloop  # noqa: PLC0415
    from hypercorn.asyncio import serve  # noqa: PLC0415
    from hypercorn.config import Config  # noqa: PLC0415

    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.include_server_header = False
    config.backlog = 1024
    uvloop.run(serve(app, config))  # type: ignore[arg-type] # it has types of its own for the messages


def _uvicorn(port: int) -> None:
    import uvicorn  # noqa: PLC0415

    options: dict[str, Any] = {
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "backlog": 1024,
    }
    uvicorn.run(app, port=port, loop="uvloop", http="httptools", ws="none", **options)


if __name__ == "__main__":
    {"hypercorn": _hypercorn, "uvicorn": _uvicorn}[sys.argv[1]](int(os.environ["PORT"]))
