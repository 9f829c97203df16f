"""A primary and a replica of Redis, with three Sentinels, and HAProxy before the pair."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from dev import servers
from tests.support.service import folder, free_port
from tests.support.waiting import eventually

NAME = "cache"
SENTINEL = """
port {port}
bind 127.0.0.1
dir {base}
sentinel monitor cache 127.0.0.1 {primary} 2
sentinel down-after-milliseconds cache 500
sentinel failover-timeout cache 2000
"""
HAPROXY = """
defaults
  mode tcp
  timeout connect 200ms
  timeout client 1h
  timeout server 1h
listen redis
  bind 127.0.0.1:{port}
  option tcp-check
  tcp-check send info\\ replication\\r\\n
  tcp-check expect string role:master
  default-server check inter 200ms fall 2 rise 2 on-marked-down shutdown-sessions
  server first 127.0.0.1:{first}
  server second 127.0.0.1:{second}
"""


class RedisGroup:
    """The servers of a group; `haproxy_url` leads to the primary, `url` to the Sentinels."""

    def __init__(self, base: Path, stack: ExitStack) -> None:
        self._base = base
        self._stack = stack
        self._binary = servers._redis_binary()  # noqa: SLF001 - the one place that finds it
        self._ports = [free_port(), free_port()]
        self._servers = {port: self._start(port) for port in self._ports}
        self._sentinels = [free_port() for _ in range(3)]
        self.url = f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in self._sentinels)}/{NAME}"
        eventually(lambda: all(map(_answers, self._ports)))
        _execute(self._ports[1], "replicaof", "127.0.0.1", str(self._ports[0]))
        for port in self._sentinels:
            file = base / f"sentinel-{port}.conf"
            file.write_text(SENTINEL.format(port=port, base=base, primary=self._ports[0]))
            self._run([self._binary, file, "--sentinel"])
        eventually(self.is_whole)

    def haproxy(self) -> str:
        """Start HAProxy; return the URL of Redis behind it."""
        port, file = free_port(), self._base / "haproxy.cfg"
        file.write_text(HAPROXY.format(port=port, first=self._ports[0], second=self._ports[1]))
        self._run(["haproxy", "-db", "-f", file])
        eventually(lambda: _answers(port))
        return f"redis://127.0.0.1:{port}"

    def primary(self) -> int:
        """Return the port of the primary that the first Sentinel names."""
        with Redis(port=self._sentinels[0]) as sentinel:
            return int(sentinel.sentinel_get_master_addr_by_name(NAME)[1])

    def is_whole(self) -> bool:
        """Return whether the Sentinels know each other, and the other server follows the primary."""
        with Redis(port=self._sentinels[0]) as sentinel:
            try:
                found = sentinel.sentinel_masters()[NAME]
                primary = self.primary()
                with Redis(port=next(port for port in self._ports if port != primary)) as replica:
                    state = replica.info("replication")
            except RedisError:
                return False
        follows = state.get("master_port") == primary and state.get("master_link_status") == "up"
        return bool(follows and found["num-other-sentinels"] == 2 and found["num-slaves"] == 1)

    def kill(self) -> None:
        """Kill the primary; start it again, empty, when the other server has taken over."""
        port = self.primary()
        self._servers[port].kill()
        self._servers[port].wait()
        eventually(lambda: self.primary() != port)
        self._servers[port] = self._start(port)
        eventually(self.is_whole)

    def fail_over(self) -> None:
        """Let the Sentinels make the replica the primary."""
        port = self.primary()
        _execute(self._sentinels[0], "sentinel", "failover", NAME)
        eventually(lambda: self.primary() != port)
        eventually(self.is_whole)

    def freeze(self) -> None:
        """Freeze the primary; thaw it when the other server has taken over."""
        port = self.primary()
        self._servers[port].send_signal(signal.SIGSTOP)
        try:
            eventually(lambda: self.primary() != port)
        finally:
            self._servers[port].send_signal(signal.SIGCONT)
        eventually(self.is_whole)

    def _start(self, port: int) -> subprocess.Popen[bytes]:
        options = ["--bind", "127.0.0.1", "--save", "", "--repl-diskless-sync-delay", "0"]
        return self._run([self._binary, "--port", str(port), "--dir", self._base, *options])

    def _run(self, command: list[str | Path]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process


@contextmanager
def redis_group() -> Iterator[RedisGroup]:
    """Run a group."""
    with folder() as base, ExitStack() as stack:
        yield RedisGroup(base, stack)


def _execute(port: int, *command: str) -> None:
    with Redis(port=port) as operator:
        operator.execute_command(*command)


def _answers(port: int) -> bool:
    try:
        with Redis(port=port) as probe:
            return bool(probe.ping())
    except RedisError:
        return False
