"""Starts the service: one uvicorn process on HOST and PORT."""

import logging
import os
import sys

import uvicorn


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    uvicorn.run(
        "fastapi_peer.app:app",
        host=os.environ.get("HOST", "127.0.0.1"),
        port=int(os.environ.get("PORT", "3006")),
        access_log=False,  # the application writes its own line
    )


if __name__ == "__main__":
    main()
