"""The router: finds the route of a request by its path and method."""

from collections.abc import Awaitable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from starlette.routing import compile_path
from starlette.types import Scope

from session_service.api.errors import MethodNotAllowedError, RouteNotFoundError
from session_service.api.responses import Response


class Route(Protocol):
    """Handles the requests of one path and method.

    The body is in the scope; the path's parameters are the second argument. Load shedding never rejects a
    request of a route that is not sheddable. `operation` names the route in metrics and in the log.
    """

    @property
    def sheddable(self) -> bool: ...

    @property
    def operation(self) -> str: ...

    def handle(self, scope: Scope, path: dict[str, Any], /) -> Awaitable[Response]: ...


class Router:
    """Finds routes by path and method; paths without a parameter come first, as in OpenAPI."""

    def __init__(self, paths: Mapping[str, Mapping[str, Route]], root_path: str = "") -> None:
        self._root_path = root_path
        every = {path: _with_head(methods) for path, methods in paths.items()}
        self._plain = {path: methods for path, methods in every.items() if "{" not in path}
        self._others = [
            (compile_path(path)[0], methods) for path, methods in every.items() if path not in self._plain
        ]

    def find(self, method: str, path: str) -> tuple[Route, dict[str, Any]]:
        """Return the route, with the path's parameters; raise the contract's 404 or 405."""
        methods, values = self._find_path(path)
        if method not in methods:
            raise MethodNotAllowedError(", ".join(methods))
        return methods[method], values

    def _find_path(self, path: str) -> tuple[Mapping[str, Route], dict[str, Any]]:
        """Match a path with or without the path prefix; raise RouteNotFoundError."""
        if self._root_path and path.startswith(f"{self._root_path}/"):
            with suppress(RouteNotFoundError):
                return self._match(path.removeprefix(self._root_path))
        return self._match(path)

    def _match(self, path: str) -> tuple[Mapping[str, Route], dict[str, Any]]:
        if path in self._plain:
            return self._plain[path], {}
        for pattern, methods in self._others:
            found = pattern.match(path)
            # `$` in a pattern matches before a line feed at the end, too.
            if found and not path.endswith("\n"):
                return methods, found.groupdict()
        raise RouteNotFoundError


def _with_head(methods: Mapping[str, Route]) -> Mapping[str, Route]:
    return {**methods, "HEAD": methods["GET"]} if "GET" in methods else methods
