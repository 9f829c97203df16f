"""What loads a target: wrk with load.lua, or pgbench with save.sql; a run with errors raises BenchError."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from statistics import quantiles

from attrs import frozen

from dev.bench.measure import BenchError, Case
from dev.servers import postgres_homes

_HERE = Path(__file__).parent
_HIT = 256  # sessions that `get hit` reads
_KINDS = {
    "connect": "connections refused",
    "read": "replies cut off",
    "write": "requests cut off",
    "timeout": "replies later than 10 s",
    "status": "replies of 400 or more",
    "strange": "replies without a session",
    "exhausted": "requests without a session of their own left",
}


@frozen
class Sessions:
    """Where the ids are, a line each, and which of these are to be used up one by one."""

    ids: Path
    own: range


@frozen
class Told:
    """What a run was like from outside: `taken` sessions were used up, latencies are in milliseconds."""

    requests: int
    sent: int
    taken: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Replies/s."""
        return self.requests / self.seconds


def wrk(url: str, case: Case, sessions: Sessions, *, seconds: int, check: bool = False) -> Told:
    """Send a case's requests for so many seconds, and look at every reply if that is asked."""
    threads = 1 if case.connections < 64 else 2
    settings = {
        "operation": case.operation,
        "ids": sessions.ids,
        "pool": min(case.stored, _HIT) if case.operation == "get hit" else case.stored,
        "first": sessions.own.start,
        "last": sessions.own.stop,
        "questions": case.answers,
        "threads": threads,
        "rate": case.rate,
        "churn": case.churn,
        "check": int(check),
    }
    command = ["wrk", f"-t{threads}", f"-c{case.connections}", f"-d{seconds}s", "--timeout", "10s"]
    command += ["-s", str(_HERE / "load.lua"), url, "--"]
    command += [f"{name}={value}" for name, value in settings.items()]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    last = run.stdout.rstrip().rpartition("\n")[2]
    if run.returncode or not last.startswith("{"):
        raise BenchError(f"wrk failed: {run.stderr.strip() or run.stdout.strip()}")
    counts: dict[str, int] = json.loads(last)
    _refuse(counts, case.connections + threads)
    latencies = (counts["p50"] / 1000, counts["p99"] / 1000)
    return Told(counts["requests"], counts["sent"], counts["taken"], counts["microseconds"] / 1e6, *latencies)


def warm_up(url: str, case: Case, sessions: Sessions, *, seconds: int) -> Told:
    """Send a case's requests for so many seconds, or until every session that `get hit` reads is in Redis."""
    while True:
        told = wrk(url, case, sessions, seconds=seconds, check=True)
        # Twice, because wrk's threads, which share the sessions, do not keep step.
        if case.operation != "get hit" or told.requests >= 2 * _HIT:
            return told
        seconds *= 2


def pgbench(database: str, case: Case, logs: Path, *, clients: int, seconds: int) -> Told:
    """Save answers by PostgreSQL alone for so many seconds."""
    binary = pgbench_binary()
    assert binary is not None
    command = [binary, "-n", "-M", "prepared", "-f", str(_HERE / "save.sql")]
    command += ["-c", str(clients), "-j", str(min(clients, 2)), "-T", str(seconds)]
    command += ["-D", f"sessions={case.stored}", "-D", f"questions={case.answers}"]
    command += ["-l", f"--log-prefix={logs / 'pgbench'}", database]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    latencies = []
    for log in logs.glob("pgbench.*"):
        latencies += [int(line.split()[2]) / 1000 for line in log.read_text().splitlines()]
        log.unlink()
    if run.returncode or len(latencies) < 2 or re.search("abort|ERROR", run.stderr):
        raise BenchError(f"pgbench failed: {run.stderr.strip()}")
    shares = quantiles(latencies, n=100)
    return Told(len(latencies), len(latencies), 0, seconds, shares[49], shares[98])


def pgbench_binary() -> str | None:
    """Return where pgbench is: on PATH, or beside the embedded server; None if it is nowhere."""
    beside = postgres_homes()[0] / "bin" / "pgbench"
    return shutil.which("pgbench") or (str(beside) if beside.exists() else None)


def _refuse(counts: dict[str, int], under_way: int) -> None:
    """Raise BenchError for any fault, and for more replies missing than were under way at the end."""
    faults = [f"{counts[name]} {text}" for name, text in _KINDS.items() if counts[name]]
    missing = counts["sent"] - counts["requests"]
    if missing > under_way:
        faults.append(f"{missing} requests without a reply")
    if not counts["requests"]:
        faults.append("no replies")
    if faults:
        raise BenchError(f"of {counts['sent']} requests: {', '.join(faults)}")
