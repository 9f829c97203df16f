"""How the tests run the programs beside them against a service, and what these have to reach."""

import re
import subprocess
from pathlib import Path

from session_service.keeper import ROOT
from tests.judge import Fault, judging
from tests.service import Service

HERE = Path(__file__).parent
GUIDE = ROOT / "docs" / "client.md"

# What a life through a client has to show: each operation, and the errors that a client has to live with.
REACHED = {
    ("startSession", 201),
    ("startSession", 200),
    ("startSession", 400),
    ("getSession", 200),
    ("getSession", 304),
    ("getSession", 404),
    ("getSession", 410),
    ("updateProgress", 200),
    ("updateProgress", 409),
    ("updateProgress", 410),
    ("saveAnswers", 204),
    ("completeSession", 200),
    ("listSessions", 200),
    ("getHealth", 200),
}


def bad_network(number: int) -> str:
    """Lose every third reply after the service has done its work, and every fifth request before."""
    if number % 3 == 2:
        return "lost reply"
    return "lost request" if number % 5 == 4 else "none"


def run(
    house: Path, service: Service, command: list[str], faults: Fault | None = None
) -> set[tuple[str, int]]:
    """Run a program against the service, through a judge; return the operations and statuses that it saw."""
    with judging(service.url) as judge:
        judge.faults = faults or judge.faults
        ready = [judge.url if word == "URL" else word for word in command]
        ended = subprocess.run(ready, cwd=house, capture_output=True, text=True, check=False, timeout=60)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return set(judge.replies)


def guide(language: str) -> str:
    """Return the code in a language of docs/client.md."""
    (code,) = re.findall(rf"^```{language}\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    return str(code)
