"""Measures failovers: `python -m tests.verify.failover.measure [fault ...]`.

Prints for each fault, and each instance of the service, the longest time between two acknowledged saves, and
the service's own part of it: from the first write that the new primary commits to the first acknowledged save
that was sent after the fault. A client of each instance saves every 50 ms.
"""

import asyncio
import os
from argparse import ArgumentParser
from itertools import pairwise
from time import monotonic

import psycopg
from attrs import define, field

from tests.support.keep_alive import KeepAliveClient, LostError
from tests.verify.failover.deployment import FAULTS, Deployment, deployment
from tests.verify.failover.patroni_cluster import Node

PERIOD = 0.05  # seconds between two saves of a client
PROBE_PERIOD = 0.01  # seconds between two attempts to write on a node
PROBE = "insert into public.probes default values"


@define
class Probes:
    """What the clients and the probes of the nodes saw: times in seconds by the monotonic clock."""

    acknowledged: dict[int, list[float]] = field(factory=dict)
    outcomes: dict[int, list[str]] = field(factory=dict)
    slowest: float = 0.0
    committed: dict[str, list[float]] = field(factory=dict)
    over: bool = False

    async def save(self, port: int) -> None:
        """Save answers through an instance."""
        client = KeepAliveClient()
        body = {"user_id": f"measured-{port}", "quiz_id": "measured", "time_limit_seconds": 0}
        session = (await client.send(port, "POST", "/api/sessions/start", body)).body["id"]
        acknowledged, outcomes = self.acknowledged.setdefault(port, []), self.outcomes.setdefault(port, [])
        while not self.over:
            begin = monotonic()
            answer = {"question_id": 1, "answer": len(acknowledged)}
            try:
                reply = await client.send(port, "PUT", f"/api/sessions/{session}/progress", answer)
            except LostError:
                outcomes.append("lost")
            else:
                if reply.status == 200:
                    acknowledged.append(monotonic())
                else:
                    outcomes.append(reply.body["outcome"])
            self.slowest = max(self.slowest, monotonic() - begin)
            await asyncio.sleep(PERIOD)
        client.close()

    async def write(self, node: Node) -> None:
        """Write on a node whenever it is a primary."""
        committed = self.committed.setdefault(node.name, [])
        while not self.over:
            try:
                async with asyncio.timeout(2):
                    connection = await psycopg.AsyncConnection.connect(
                        node.owner_url, autocommit=True, connect_timeout=2
                    )
            except (psycopg.Error, TimeoutError):
                await asyncio.sleep(PROBE_PERIOD)
                continue
            await self._write_on(connection, committed)

    async def _write_on(self, connection: psycopg.AsyncConnection, committed: list[float]) -> None:
        try:
            while not self.over:
                async with asyncio.timeout(2):
                    await connection.execute(PROBE)
                committed.append(monotonic())
                await asyncio.sleep(PROBE_PERIOD)
        except (psycopg.Error, TimeoutError):
            await asyncio.sleep(PROBE_PERIOD)
        finally:
            connection.pgconn.finish()


def main() -> None:
    """Measure the faults that are named, by default all."""
    named = {fault.__name__: fault for fault in FAULTS}
    parser = ArgumentParser("measure", description=__doc__)
    parser.add_argument("faults", nargs="*", choices=[[], *named], help="faults, by default all")
    parser.add_argument("--rounds", type=int, default=1, help="rounds of each fault")
    options = parser.parse_args()
    for name in options.faults or named:
        for _ in range(options.rounds):
            print(f"{name:20} {asyncio.run(_measure(name))}", flush=True)


async def _measure(name: str) -> str:
    async with deployment() as one:
        probes = await _observe(one, name)
    return _report(probes)


async def _observe(one: Deployment, name: str) -> Probes:
    """Run the fault under the clients."""
    async with await psycopg.AsyncConnection.connect(one.owner_url, autocommit=True) as owner:
        await owner.execute("create table public.probes (at timestamptz default now())")
    probes = Probes()
    async with asyncio.TaskGroup() as group:
        for port in one.ports:
            group.create_task(probes.save(port))
        for node in one.nodes.nodes:
            group.create_task(probes.write(node))
        await asyncio.sleep(2)
        (fault,) = (fault for fault in FAULTS if fault.__name__ == name)
        await fault(one)
        await asyncio.sleep(1)
        probes.over = True
    return probes


def _report(probes: Probes) -> str:
    """Return one line with the gaps, and the service's part, of each instance."""
    gaps, parts = [], []
    for times in probes.acknowledged.values():
        begin, end = max(pairwise(times), key=lambda pair: pair[1] - pair[0])
        gaps.append(f"{end - begin:.2f}")
        # The new primary is the node whose first write of all is in the gap, or the last of them.
        firsts = [moments[0] for moments in probes.committed.values() if moments and moments[0] > begin - 1]
        parts.append(f"{end - min(firsts):.2f}" if firsts else "?")
    replies = [outcome for outcomes in probes.outcomes.values() for outcome in outcomes]
    counts = ", ".join(f"{replies.count(outcome)} {outcome}" for outcome in sorted(set(replies)))
    load = os.getloadavg()[0]
    return (
        f"gap {' '.join(gaps)} s, of the service {' '.join(parts)} s; {counts or 'no failure'};"
        f" slowest reply {probes.slowest:.2f} s; load average {load:.1f}"
    )


if __name__ == "__main__":
    main()
