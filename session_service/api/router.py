"""Which endpoint a request is for, by its path and method."""

from collections.abc import Awaitable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from starlette.routing import compile_path
from starlette.types import Scope

from session_service.api.responses import Reply
from session_service.sessions.errors import MethodNotAllowedError, RouteNotFoundError


class Answers(Protocol):
    """Whatever answers a request: its body is in the scope, the path's parameters are beside it.

    What is urgent is answered however much is at work.
    """

    @property
    def urgent(self) -> bool: ...

    def answer(self, scope: Scope, path: dict[str, Any], /) -> Awaitable[Reply]: ...


class Routes:
    """Paths and what answers each method; those without a parameter come first, as OpenAPI matches them."""

    def __init__(self, paths: Mapping[str, Mapping[str, Answers]], root_path: str = "") -> None:
        self._root_path = root_path
        every = {path: _with_head(methods) for path, methods in paths.items()}
        self._plain = {path: methods for path, methods in every.items() if "{" not in path}
        self._others = [
            (compile_path(path)[0], methods) for path, methods in every.items() if path not in self._plain
        ]

    def find(self, method: str, path: str) -> tuple[Answers, dict[str, Any]]:
        """Return what answers, with the path's parameters; raise the contract's 404 or 405."""
        methods, values = self._find_path(path)
        if method not in methods:
            raise MethodNotAllowedError(", ".join(methods))
        return methods[method], values

    def _find_path(self, path: str) -> tuple[Mapping[str, Answers], dict[str, Any]]:
        """Match a path without the path prefix that a proxy may have left on it; raise the 404."""
        if self._root_path and path.startswith(f"{self._root_path}/"):
            with suppress(RouteNotFoundError):
                return self._match(path.removeprefix(self._root_path))
        return self._match(path)

    def _match(self, path: str) -> tuple[Mapping[str, Answers], dict[str, Any]]:
        if path in self._plain:
            return self._plain[path], {}
        for pattern, methods in self._others:
            found = pattern.match(path)
            # A pattern does not see a line feed at the path's end.
            if found and not path.endswith("\n"):
                return methods, found.groupdict()
        raise RouteNotFoundError


def _with_head(methods: Mapping[str, Answers]) -> Mapping[str, Answers]:
    return {**methods, "HEAD": methods["GET"]} if "GET" in methods else methods
