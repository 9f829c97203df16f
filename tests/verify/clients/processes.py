"""Other processes that use an attempt's file: python processes.py URL other FILE USER."""

import atexit
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

from harness import ARGUMENTS, CLIENT, FOLDER, QUIZ, URL, finish, never, run
from session_service_client.attempt import Attempt
from session_service_client.merging import keep_mine


class Other:
    """Another process with an attempt on the same file, which carries out commands."""

    def __init__(self, name: str, user: str) -> None:
        command = [sys.executable, "-W", "error", __file__, URL, "other", str(FOLDER / name), user]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        # A frozen process would outlive a scenario that fails.
        atexit.register(self._process.kill)

    @property
    def pid(self) -> int:
        """Return the id of the process."""
        return self._process.pid

    def do(self, command: str) -> str:
        """Carry out a command; return the attempt's problem."""
        self.send(command)
        return self.line()

    def send(self, command: str) -> None:
        """Send a command without waiting for its end."""
        assert self._process.stdin
        self._process.stdin.write(f"{command}\n")

    def line(self) -> str:
        """Return the next line that the process has written."""
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def kill(self) -> list[str]:
        """Kill the process; return the lines that it had still written."""
        self._process.kill()
        written, _ = self._process.communicate()
        return written.split()


def other() -> None:
    """Carry out the commands on standard input; with a third argument keep own answers."""
    file, user, *merges = ARGUMENTS
    attempt = Attempt(CLIENT, Path(file), keep_mine if merges else never)
    for line in sys.stdin:
        match line.split():
            case ["open" | "anew" as name]:
                finish(partial(attempt.open, user, QUIZ, anew=name == "anew"))
            case ["answer", question, *words]:
                attempt.answer(question, " ".join(words))
            case ["flush" | "complete" as name]:
                finish(attempt.flush if name == "flush" else attempt.complete)
            case ["try"]:
                attempt.flush()
            case ["many", name]:
                many(attempt, name, user)
        say(str(attempt.problem))


def many(attempt: Attempt, name: str, user: str) -> None:
    """Answer many questions, and send them if this process owns the file; print what is stored."""
    attempt.open(user, QUIZ)
    for number in range(30):
        attempt.answer(f"{name}{number}", number)
        say(f"{name}{number}")
        attempt.flush()


def say(line: str) -> None:
    """Write a line for the process that gives the commands."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def done(name: str, user: str, *commands: str) -> list[str]:
    """Carry out commands in another process, and kill it; return the attempt's problem after each."""
    process = Other(name, user)
    problems = [process.do(command) for command in commands]
    process.kill()
    return problems


if __name__ == "__main__":
    run(other)
