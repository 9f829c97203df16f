"""Reaper: a process that owns private servers, and stops them at the end of its standard input.

The servers therefore end with the process that started them, even if that one is killed.
"""

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dev.servers import EmbeddedError, postgres, postgres_homes, redis

ROOT = Path(__file__).parents[1]


@contextmanager
def servers(base: Path, home: Path | None = None) -> Iterator[dict[str, str]]:
    """Run PostgreSQL and Redis with their data under `base`; yield the settings with their URLs."""
    command = [sys.executable, "-m", "dev.reaper", str(base), str(home or postgres_homes()[0])]
    # A separate session: Ctrl-C must reach only the service, whose last requests need the servers.
    keeper = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    try:
        line = keeper.stdout.readline()
        if not line:
            raise EmbeddedError("the private PostgreSQL and Redis did not start; the reason is above")
        yield json.loads(line)
    finally:
        keeper.stdin.close()
        keeper.wait()
        keeper.stdout.close()


def default_base() -> Path:
    """Return the data folder of this checkout's servers.

    PostgreSQL does not run as root, and the user that replaces root may not read root's checkout.
    """
    if os.geteuid() != 0:
        return ROOT / ".state"
    return Path("/var/lib") / f"session-service-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:12]}"


def main() -> None:
    """Run the servers until standard input ends."""
    base, home = Path(sys.argv[1]), Path(sys.argv[2])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with ExitStack() as stack:
            base.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(_locked(base))
            sockets = Path(tempfile.mkdtemp(prefix="session-service-"))
            stack.callback(shutil.rmtree, sockets, ignore_errors=True)
            database = stack.enter_context(postgres(base, home, sockets, lock))
            urls = {
                "DATABASE_URL": database.url,
                "MIGRATION_DATABASE_URL": database.owner_url,
                "ERASE_DATABASE_URL": database.erase_url,
                "REDIS_URL": stack.enter_context(redis(base, sockets)).url,
            }
            print(json.dumps(urls), flush=True)
            sys.stdin.buffer.read()
    except (EmbeddedError, OSError) as error:
        sys.exit(f"session-service: {error}")


@contextmanager
def _locked(base: Path) -> Iterator[int]:
    """Lock the data folder against a second reaper; PostgreSQL inherits the lock and holds it to its end."""
    with (base / "lock").open("w") as file:
        end = time.monotonic() + 10
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise EmbeddedError(f"another bin/serve is using {base}") from None
                time.sleep(0.05)
        yield file.fileno()


if __name__ == "__main__":
    main()
