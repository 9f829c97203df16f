"""Runs of the programs in this folder against a service, and the responses that they must reach."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import Urls
from tests.support.service import Service
from tests.support.validating_proxy import Change, Fault, validating_proxy
from tests.verify.clients.scripted_proxy import TRANSIENT, scripted

HERE = Path(__file__).parent

# Operations and statuses that the life of a session reaches.
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

# What only the present contract has.
REACHED_2 = REACHED | {
    ("startSession", 403),
    ("saveAnswers", 200),
    ("listSessionEvents", 200),
    ("listEvents", 200),
    ("listEvents", 410),
    ("updateProgress", 423),
    ("changeDeadline", 200),
    ("pauseSession", 200),
    ("resumeSessions", 200),
    ("reopenSession", 200),
}

# The scenarios of network.py and network.ts, each with its further arguments, and of device.py and device.ts.
NETWORK: dict[str, list[str]] = {
    "any_reply": list(TRANSIENT),
    "in_between": [],
    "retry_after": [],
    "long_outage": [],
    "silence": [],
    "broken_client": [],
    "slow_uplink": [],
}
DEVICE = [
    "undecided",
    "answered_twice",
    "full_store",
    "unreadable_store",
    "older_file",
    "stale_id",
    "another_learner",
    "second_device",
    "clocks",
    "unsendable",
]

KEEPING = [
    "restored",
    "replaced",
    "completed_later",
    "events",
    "background",
    "background_waits",
    "default_merge",
]


# The scenarios of teaching.py and teaching.ts.
TEACHING = ["paused", "idle", "extended", "extended_late", "reopened", "few_requests"]


def bad_network(number: int) -> str:
    """Lose every third response after the service has done its work, and every fifth request before."""
    if number % 3 == 2:
        return "lost response"
    return "lost request" if number % 5 == 4 else "none"


def run(
    project: Path,
    service: Service,
    command: list[str],
    faults: Fault | None = None,
    change: Change | None = None,
) -> set[tuple[str, int]]:
    """Run a program through a validating proxy; return the operations and statuses that it saw."""
    with validating_proxy(service.url) as proxy:
        proxy.faults = faults or proxy.faults
        proxy.change = change or proxy.change
        ready = [proxy.url if word == "URL" else word for word in command]
        ended = subprocess.run(ready, cwd=project, capture_output=True, text=True, check=False, timeout=60)
        assert ended.returncode == 0, (ended.returncode, ended.stdout + ended.stderr)
        return set(proxy.responses)


def run_scenario(
    project: Path, service: Service, urls: Urls, command: Sequence[str | Path], scenario: str, *arguments: str
) -> None:
    """Run one scenario of a program against the service, through a proxy that the program scripts."""
    with scripted(service.url, urls) as proxy:
        ready = [*command, proxy.url, scenario, *arguments]
        ended = subprocess.run(ready, cwd=project, capture_output=True, text=True, check=False, timeout=120)
        assert ended.returncode == 0, (ended.returncode, ended.stdout + ended.stderr)
