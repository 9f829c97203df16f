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
from attrs import define, evolve, field, frozen

from dev.bench import measure
from dev.bench.drive import Sessions
from dev.bench.measure import BenchError, Case
from dev.bench.targets import Running

CAPACITY = Case("put", 256)
"""What a target can take is measured with."""

_CLIENTS = 4000
_CALM = 3.0  # seconds before and after a load, in which one client's saves are watched
_WINDOW = 0.25  # seconds whose saves are judged together
_SLOW = 1 / 20  # of a window's saves may be slower than was normal
_STILL = 0.8  # of the best for a CPU second, under more than it can take
_BACK = 2.0  # seconds until it has to be normal again
_PAUSE = 0.05  # seconds between looks at /health


@frozen
class Offer:
    """How much of what it can take a target is offered, and whether clients that are refused wait as told."""

    share: float
    patient: bool
    rate: float = 0.0  # requests/s


_OFFERS = (
    Offer(0.7, patient=True),
    Offer(1.0, patient=True),
    Offer(4.0, patient=True),
    Offer(4.0, patient=False),
)


@frozen
class Load:
    """What came of one load: rates a second, good replies for a CPU second, and what single clients saw."""

    target: str
    offer: Offer
    good: float
    refused: float
    broken: int
    per_cpu: float
    back: float  # seconds after the load until one client's saves were normal again
    probes: int
    failed: int  # probes that were not 200
    slowest: float  # milliseconds that /health took
    ratio: float = 0.0  # to the best for a CPU second of those loads that the target can take


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


def overload(target: Running, capacity: float, sessions: Sessions, seconds: int) -> list[Load]:
    """Offer a target each load for so many seconds, by the same clients, who think less for more of it."""
    offers = [evolve(offer, rate=offer.share * capacity) for offer in _OFFERS]
    loads = [_load(target, offer, sessions, seconds) for offer in offers]
    best = max(load.per_cpu for load in loads if load.offer.share <= 1)
    return [evolve(load, ratio=load.per_cpu / best) for load in loads]


def shortfalls(loads: list[Load]) -> list[str]:
    """Return where a target did less than docs/promises.md says of four times what it can take."""
    found = []
    for load in loads:
        if load.offer.share > 1 and load.offer.patient and load.ratio < _STILL:
            found.append(f"{load.target}: {load.ratio:.2f} of the best for a CPU second")
        if load.back > _BACK:
            found.append(f"{load.target}: normal again after {load.back:.2f} s")
        if load.failed:
            found.append(f"{load.target}: /health was not 200 {load.failed} times")
    return found


def _load(target: Running, offer: Offer, sessions: Sessions, seconds: int) -> Load:
    assert target.process is not None
    witness = Witness(target.url, sessions.ids.read_text().partition("\n")[0])
    with witness.watching():
        time.sleep(_CALM)
        begun, before = time.monotonic(), measure.cpu_seconds(target.process.pid)
        told = _wrk(target.url, sessions.ids, offer, seconds)
        ended, spent = time.monotonic(), measure.cpu_seconds(target.process.pid) - before
        time.sleep(_CALM)
    seen = [status for moment, _, status in witness.saves if begun < moment < ended]
    probes = [probe for probe in witness.probes if begun < probe[0] < ended]
    took = told["microseconds"] / 1e6
    return Load(
        target=target.target.name,
        offer=offer,
        good=told["good"] / took,
        refused=told["refused"] / took,
        broken=told["broken"] + told["strange"],
        per_cpu=(told["good"] + seen.count(200)) / spent,
        back=_back(witness.saves, begun, ended),
        probes=len(probes),
        failed=sum(status != 200 for _, _, status in probes),
        slowest=max(taken for _, taken, _ in probes) * 1000,
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


def _wrk(url: str, ids: Path, offer: Offer, seconds: int) -> dict[str, int]:
    think = round(_CLIENTS / offer.rate * 1000)
    settings = {"ids": ids, "pool": CAPACITY.stored, "think": think, "patient": int(offer.patient)}
    # Whoever offers the load is not to take from those who work on it what they need.
    command = ["nice", "-n", "15", "wrk", "-t2", f"-c{_CLIENTS}", f"-d{seconds}s", "--timeout", "10s"]
    command += ["-s", str(Path(__file__).with_suffix(".lua")), url, "--"]
    command += [f"{name}={value}" for name, value in settings.items()]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    last = run.stdout.rstrip().rpartition("\n")[2]
    if run.returncode or not last.startswith("{"):
        raise BenchError(f"wrk failed: {run.stderr.strip() or run.stdout.strip()}")
    told: dict[str, int] = json.loads(last)
    return told
