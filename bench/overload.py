"""Four times what a target can take: what it still does for its CPU, and when it is well again."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles
from threading import Event

import httpx
from attrs import define, field, frozen

from bench import measure
from bench.drive import Sessions
from bench.measure import BenchError, Case, Measurement
from bench.targets import Running

PEAK = Case("put", 256)
"""What a target's peak is measured with."""

_TIMES = 4  # the peak
_CLIENTS = 4000
_CALM = 3.0  # seconds before and after the load, in which one client's saves are watched
_WINDOW = 0.25  # seconds whose saves are judged together
_SLOW = 1 / 20  # of a window's saves may be slower than was normal
_PAUSE = 0.05  # seconds between looks at /health


@frozen
class Overload:
    """A target under too much: rates a second, good replies for a CPU second, and what one client saw."""

    target: str
    patient: bool
    peak: float
    offered: float
    good: float
    refused: float
    broken: int
    per_cpu: float
    ratio: float  # to the peak's good replies for a CPU second
    back: float  # seconds after the load in which saves were normal again
    probes: int
    failed: int  # probes that were not 200
    slowest: float  # milliseconds that /health took


@define
class Witness:
    """A client that saves all the time and one that asks for the service's health."""

    url: str
    session: str
    # When each was sent, for how long it took, and its status.
    saves: list[tuple[float, float, int]] = field(factory=list)
    probes: list[tuple[float, float, int]] = field(factory=list)
    _over: Event = field(factory=Event)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch meanwhile."""
        with ThreadPoolExecutor(2) as clients:
            watched = [clients.submit(self._save), clients.submit(self._probe)]
            try:
                yield
            finally:
                self._over.set()
            for client in watched:
                client.result()

    def _save(self) -> None:
        path, body = f"/api/sessions/{self.session}/progress", {"question_id": 1, "answer": "x"}
        with httpx.Client(base_url=self.url, timeout=30) as client:
            while not self._over.wait(0.002):
                self.saves.append(_timed(lambda: client.put(path, json=body)))

    def _probe(self) -> None:
        with httpx.Client(base_url=self.url, timeout=30) as client:
            while not self._over.wait(_PAUSE):
                self.probes.append(_timed(lambda: client.get("/health")))


def overload(
    target: Running, peak: Measurement, sessions: Sessions, *, seconds: int, patient: bool
) -> Overload:
    """Offer a target four times its peak for so many seconds, by clients that wait when told to, or do not."""
    assert target.process is not None
    assert peak.cpu is not None
    witness = Witness(target.url, sessions.ids.read_text().partition("\n")[0])
    with witness.watching():
        time.sleep(_CALM)
        begun, before = time.monotonic(), measure.cpu_seconds(target.process.pid)
        told = _wrk(
            target.url, sessions.ids, think=_CLIENTS / (_TIMES * peak.rate), patient=patient, seconds=seconds
        )
        ended, spent = time.monotonic(), measure.cpu_seconds(target.process.pid) - before
        time.sleep(_CALM)
    good = told["good"] + sum(status == 200 for moment, _, status in witness.saves if begun < moment < ended)
    took = told["microseconds"] / 1e6
    probes = [probe for probe in witness.probes if begun < probe[0] < ended]
    return Overload(
        target=target.target.name,
        patient=patient,
        peak=peak.rate,
        offered=_TIMES * peak.rate,
        good=good / took,
        refused=told["refused"] / took,
        broken=told["broken"] + told["strange"],
        per_cpu=good / spent,
        ratio=good / spent * peak.cpu / 1e6,
        back=_back(witness.saves, begun, ended),
        probes=len(probes),
        failed=sum(status != 200 for _, _, status in probes),
        slowest=max(seconds for _, seconds, _ in probes) * 1000,
    )


def _timed(ask: Callable[[], httpx.Response]) -> tuple[float, float, int]:
    begun = time.monotonic()
    try:
        status = ask().status_code
    except httpx.TransportError:
        status = 0
    return begun, time.monotonic() - begun, status


def _back(saves: list[tuple[float, float, int]], begun: float, ended: float) -> float:
    """Return how long after the load the last window was with saves refused, or many slower than before."""
    normal = quantiles([seconds for moment, seconds, _ in saves if moment < begun], n=100)[98]
    back = 0.0
    for number in range(int(_CALM / _WINDOW)):
        start = ended + number * _WINDOW
        found = [(seconds, status) for moment, seconds, status in saves if start <= moment < start + _WINDOW]
        bad = [seconds for seconds, status in found if status != 200 or seconds > normal]
        if not found or len(bad) > _SLOW * len(found) or any(status != 200 for _, status in found):
            back = start + _WINDOW - ended
    return back


def _wrk(url: str, ids: Path, *, think: float, patient: bool, seconds: int) -> dict[str, int]:
    settings = {"ids": ids, "pool": PEAK.stored, "think": round(think * 1000), "patient": int(patient)}
    command = ["wrk", "-t2", f"-c{_CLIENTS}", f"-d{seconds}s", "--timeout", "10s"]
    command += ["-s", str(Path(__file__).with_suffix(".lua")), url, "--"]
    command += [f"{name}={value}" for name, value in settings.items()]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    last = run.stdout.rstrip().rpartition("\n")[2]
    if run.returncode or not last.startswith("{"):
        raise BenchError(f"wrk failed: {run.stderr.strip() or run.stdout.strip()}")
    told: dict[str, int] = json.loads(last)
    return told
