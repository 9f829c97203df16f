"""Measures exports: `python -m tests.verify.exports.measure 100000 [--server uvicorn]`.

Prints the highest memory of the service's process, the duration of each export, and the 99th percentile of
the time of saves without and beside an export, which take turns in the same run.
"""

import asyncio
import json
import subprocess
import time
from argparse import ArgumentParser
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain
from statistics import median, quantiles
from urllib.parse import urlsplit

import psycopg

from dev import reaper
from tests.conftest import migrate
from tests.support.exports import PATH, fill
from tests.support.memory import peak_memory, reset_peak
from tests.support.service import Service, folder, running

ANSWERS = 50  # of each attempt
CLIENTS = 16  # that save at the same time
PERIOD = 0.1  # seconds between two saves of a client
PHASE = 6.0  # seconds of exports, at least, and then as many without
ROUNDS = 5  # of two phases each
FORMATS = ("csv", "ndjson")


def main() -> None:
    """Measure with the options of the command line."""
    parser = ArgumentParser("measure", description=__doc__)
    parser.add_argument("attempts", type=int, help="attempts to export")
    parser.add_argument("--server", choices=("hypercorn", "uvicorn"), default="hypercorn")
    options = parser.parse_args()
    with folder() as base, reaper.servers(base) as urls:
        migrate(urls)
        with psycopg.connect(urls["MIGRATION_DATABASE_URL"], autocommit=True) as database:
            fill(database, "measured", options.attempts, answers=ANSWERS, size=40)
            database.execute("vacuum analyze quiz_sessions")
        with running(urls, SERVER=options.server, LOG_LEVEL="warning") as service:
            print(f"{options.attempts} attempts of {ANSWERS} answers on {options.server}")
            asyncio.run(_measure(service))


async def _measure(service: Service) -> None:
    sessions = [str(service.start()["id"]) for _ in range(CLIENTS)]
    await _saves(service, sessions, 2)
    for form in FORMATS:
        await _export_whole(service, sessions, form)
    for form in FORMATS:
        await _take_turns(service, sessions, form)


async def _export_whole(service: Service, sessions: list[str], form: str) -> None:
    """Export everything beside saves; print memory, duration and size."""
    pid = service.process.pid
    reset_peak(pid)
    before, begun = peak_memory(pid), time.monotonic()
    async with _exporting(service, form) as export:
        ended = asyncio.create_task(export.communicate())
        times: list[float] = []
        while not ended.done():
            times += await _saves(service, sessions, 1)
        output = (await ended)[0].decode()
    seconds, peak = time.monotonic() - begun, peak_memory(pid)
    print(
        f"{form}: {int(output) / 2**20:.1f} MiB in {seconds:.1f} s, "
        f"beside {len(times) / seconds:.0f} saves a second; "
        f"peak of the process {peak / 2**20:.1f} MiB, before {before / 2**20:.1f} MiB"
    )


async def _take_turns(service: Service, sessions: list[str], form: str) -> None:
    """Save beside whole exports and without them by turns; print the 99th percentiles and their ratio."""
    alone: list[list[float]] = []
    beside: list[list[float]] = []
    for _ in range(ROUNDS):
        begun = time.monotonic()
        times: list[float] = []
        while time.monotonic() - begun < PHASE:
            async with _exporting(service, form) as export:
                while export.returncode is None:
                    times += await _saves(service, sessions, 1)
        beside.append(times)
        alone.append(await _saves(service, sessions, time.monotonic() - begun))
    ratios = [_p99(two) / _p99(one) for one, two in zip(alone, beside, strict=True)]
    saves = sum(map(len, alone)), sum(map(len, beside))
    print(
        f"{form}: 99th percentile of a save {_p99(list(chain(*alone))):.2f} ms without an export, "
        f"{_p99(list(chain(*beside))):.2f} ms beside one (of {saves[0]} and {saves[1]} saves); "
        f"median of the ratios {median(ratios):.2f} ({', '.join(f'{ratio:.2f}' for ratio in ratios)})"
    )


@asynccontextmanager
async def _exporting(service: Service, form: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run curl with an export, whose output is the number of bytes; end it after the block."""
    url = f"{service.url}{PATH}?format={form}&quiz_id=measured"
    command = ("curl", "-sSf", "-o", "/dev/null", "-w", "%{size_download}", url)
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _saves(service: Service, sessions: list[str], seconds: float) -> list[float]:
    """Save to each session once in each PERIOD, for some seconds; return the times in milliseconds."""
    end = time.monotonic() + seconds
    clients = [
        _client(service.url, session, end, number * PERIOD / len(sessions))
        for number, session in enumerate(sessions)
    ]
    return [one for times in await asyncio.gather(*clients) for one in times]


async def _client(url: str, session: str, end: float, offset: float) -> list[float]:
    await asyncio.sleep(offset)
    times: list[float] = []
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
    while (begun := time.monotonic()) < end:
        body = json.dumps({"question_id": len(times) % ANSWERS, "answer": f"{begun}"}).encode()
        head = (
            f"PUT /api/sessions/{session}/progress HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        )
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert head.startswith("http/1.1 200"), head
        await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
        times.append((time.monotonic() - begun) * 1000)
        await asyncio.sleep(max(0.0, begun + PERIOD - time.monotonic()))
    writer.close()
    return times


def _p99(times: list[float]) -> float:
    return quantiles(times, n=100)[98]


if __name__ == "__main__":
    main()
