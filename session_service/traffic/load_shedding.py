"""Those for whom there is no room: when they may come again, and that they cost little until then."""

import asyncio

PAUSE = 1.0  # seconds in which nothing is heard from a connection that was refused

_RETURNS = 500  # a second: to refuse costs nearly as much as to serve, and is not to take a fifth of the time


class Crowd:
    """Who was refused and told to wait: the more there are, the longer, so that not all come back at once."""

    def __init__(self) -> None:
        self._waiting = 0

    def turn_away(self) -> int:
        """Count one more, and return in how many seconds it may come again."""
        seconds = 1 + self._waiting // _RETURNS
        self._waiting += 1
        asyncio.get_running_loop().call_later(seconds, self._forget)
        return seconds

    def _forget(self) -> None:
        self._waiting -= 1
