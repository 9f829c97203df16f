"""Tests of the overrides of Hypercorn, h11 and uvicorn: their list, the pins, uvicorn's server class."""

import asyncio
import importlib
import importlib.metadata
import inspect
import logging
import re
import signal
from socket import socket
from types import FunctionType
from typing import cast

import pytest
import uvicorn

from dev.reaper import ROOT
from session_service.server.connections import ServeOptions
from session_service.server.uvicorn import server as uvicorn_server
from session_service.server.uvicorn.protocol import Settings
from tests.support.named_tests import is_test

SERVERS = ("hypercorn", "uvicorn")
LIBRARIES = {"hypercorn", "h11", "uvicorn"}
LISTED = re.compile(r"^# (\w+\.\w+) \| .+\n#   (tests/[\w/]+\.py)::(\w+)$", re.MULTILINE)


def test_uvicorn_installs_no_signal_handlers() -> None:
    """Its own handler would drop in-flight requests at the second SIGINT."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with uvicorn_server._Server(Settings("unused"), cast("ServeOptions", None)).capture_signals():  # noqa: SLF001 - as below
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_uvicorn_logs_errors_after_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The application itself reports a failed start; uvicorn's errors count after that."""

    async def startup(_: uvicorn.Server, sockets: list[socket] | None = None) -> None:
        """Start nothing."""

    monkeypatch.setattr(uvicorn.Server, "startup", startup)
    log = logging.getLogger("uvicorn.error")
    monkeypatch.setattr(log, "level", logging.CRITICAL)
    server = uvicorn_server._Server(Settings("unused"), cast("ServeOptions", None))  # noqa: SLF001 - it has no other name
    asyncio.run(server.startup())
    assert log.level == logging.ERROR


def _overrides(server: str) -> set[str]:
    """Return every method of the folder's classes that a library's class has, too."""
    found = set()
    folder = ROOT / "session_service" / "server" / server
    for path in folder.glob("*.py"):
        module = importlib.import_module(f"session_service.server.{server}.{path.stem}")
        for name, cls in inspect.getmembers(module, inspect.isclass):
            if cls.__module__ != module.__name__:
                continue
            libraries = [base for base in cls.__mro__ if base.__module__.split(".")[0] in LIBRARIES]
            found |= {
                f"{name}.{method}"
                for method, value in vars(cls).items()
                if isinstance(value, FunctionType | property)
                and not method.startswith("__")
                and any(hasattr(base, method) for base in libraries)
            }
    return found


@pytest.mark.parametrize("server", SERVERS)
def test_each_override_is_listed_with_its_test(server: str) -> None:
    """The comment in the folder's `__init__.py` lists each override; each test in it exists."""
    page = (ROOT / "session_service" / "server" / server / "__init__.py").read_text()
    listed = LISTED.findall(page)
    assert sorted(method for method, _, _ in listed) == sorted(_overrides(server))
    assert len(listed) == page.count(" | "), "an entry that the pattern does not match"
    for _, file, test in listed:
        assert is_test(f"{file}::{test}"), f"{file}::{test}"


def test_overridden_libraries_are_pinned() -> None:
    """pyproject.toml has the exact version of each library whose methods are overridden."""
    text = (ROOT / "pyproject.toml").read_text()
    for library in ("h11", "hypercorn", "httptools", "uvicorn"):
        assert re.search(rf'"{library}=={re.escape(importlib.metadata.version(library))}"', text)
