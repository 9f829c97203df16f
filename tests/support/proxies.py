"""Reverse proxies: nginx and HAProxy, each as a process with its own folder and port."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.support.inspection import listens
from tests.support.service import Service, folder, free_port, validated_client_behind_proxy
from tests.support.waiting import eventually

# A single process that keeps its user: it can write to its folder and ends with one signal.
_NGINX = """
daemon off;
master_process off;
pid nginx.pid;
error_log error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  {http}
  server {{
    listen 127.0.0.1:{port};
    {server}
  }}
}}
"""

_HAPROXY = """
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 60s
frontend clients
  bind 127.0.0.1:{port}
  default_backend service
backend service
  {backend}
"""


@contextmanager
def nginx(server: str, http: str = "") -> Iterator[str]:
    """Run nginx with these directives in its `server` block and its `http` block; yield its URL."""
    port = free_port()
    with folder() as base:
        config = base / "nginx.conf"
        config.write_text(_NGINX.format(port=port, server=server, http=http))
        with _running(["nginx", "-p", str(base), "-e", "error.log", "-c", str(config)], port) as url:
            yield url


@contextmanager
def haproxy(backend: str) -> Iterator[str]:
    """Run HAProxy with these lines in its `backend`; yield its URL."""
    port = free_port()
    with folder() as base:
        config = base / "haproxy.cfg"
        config.write_text(_HAPROXY.format(port=port, backend=backend))
        with _running(["haproxy", "-db", "-f", str(config)], port) as url:
            yield url


@contextmanager
def configured_haproxy(config: Path, port: int, settings: dict[str, str]) -> Iterator[str]:
    """Run HAProxy with a file that reads these variables, and listens on the port; yield its URL."""
    with _running(["haproxy", "-db", "-f", str(config)], port, settings) as url:
        yield url


@contextmanager
def _running(command: list[str], port: int, settings: dict[str, str] | None = None) -> Iterator[str]:
    """Run the command until the end of the block; yield its URL once it accepts connections."""
    env = {**os.environ, **(settings or {})}
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            eventually(lambda: process.poll() is not None or listens(url))
            assert process.poll() is None, f"{command} has ended"
            yield url
        finally:
            process.terminate()


@contextmanager
def behind_nginx(service: Service, prefix: str, target: str) -> Iterator[httpx.Client]:
    """Run nginx in front of a service: paths under the prefix go to the target, `/` strips the prefix."""
    with (
        nginx(f"location {prefix}/ {{ proxy_pass {service.url}{target}; }}") as url,
        validated_client_behind_proxy(url, prefix) as client,
    ):
        yield client
