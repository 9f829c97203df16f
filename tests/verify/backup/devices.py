"""Devices of learners: each a process with the packaged client, which goes on through a restore."""

import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.support.service import Service


class Device:
    """A learner's device: a process with the packaged client, on a file that outlives it."""

    def __init__(self, project: Path, url: str, name: str) -> None:
        self.user = f"{name}-{uuid4()}"
        self._project, self._url = project, url
        self._file = project / f"{self.user}.json"
        self.start()

    def start(self) -> None:
        """Start the program."""
        command = [sys.executable, "-W", "error", "processes.py", self._url, "other", str(self._file)]
        # When a session runs again its late answers are merged: the learner's own one is kept.
        command += [self.user, "merges"]
        self._process = subprocess.Popen(
            command, cwd=self._project, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def do(self, *given: str) -> None:
        """Carry out commands, which must succeed."""
        for command in given:
            assert self.ask(command) == "None", command

    def ask(self, command: str) -> str:
        """Carry out a command; return the problem that is left."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{command}\n")
        return str(self._process.stdout.readline()).strip()

    def kill(self) -> None:
        """End the program as a crash does."""
        self._process.kill()
        self._process.communicate()

    def answers(self, service: Service) -> dict[str, Any]:
        """Return the answers that the service has in the learner's only attempt that runs."""
        query = {"user_id": self.user, "include": "answers"}
        (session,) = service.client.get("/api/sessions", params=query).json()["items"]
        found: dict[str, Any] = session["answers"]
        return found
