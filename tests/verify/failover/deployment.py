"""Two instances of the service on a PostgreSQL with failover, and the faults of its leader."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from session_service.storage import migrations
from tests.support.keep_alive import KeepAliveClient, LostError
from tests.support.service import folder
from tests.support.waiting import eventually_async
from tests.verify.failover.patroni_cluster import ENVIRONMENT, Node, PatroniCluster
from tests.verify.histories.cluster import Services

INSTANCES = 2


class Deployment(Services):
    """Instances with the URL of all nodes; each finds the primary itself."""

    def __init__(self, base: Path, settings: dict[str, Any] | None, environment: Path) -> None:
        super().__init__(base)
        self.nodes = PatroniCluster(base, settings, environment)

    async def start(self) -> None:
        """Start everything."""
        await asyncio.to_thread(self.nodes.start)
        await asyncio.to_thread(self.start_redis)
        self.url, self.owner_url, erase_url = (
            self.nodes.url(role) for role in ("session_service", "app", "session_eraser")
        )
        await migrations.migrate(self.owner_url, service_url=self.url, erase_url=erase_url)
        urls = {"DATABASE_URL": self.url, "ERASE_DATABASE_URL": erase_url, "REDIS_URL": self.redis.url}
        await self.start_instances(*[urls] * INSTANCES)

    async def await_saves(self) -> None:
        """Wait until each instance acknowledges a save."""
        client = KeepAliveClient()
        await asyncio.gather(*(eventually_async(partial(_saves, client, port)) for port in self.ports))
        client.close()


async def _saves(client: KeepAliveClient, port: int) -> bool:
    """Return whether the instance acknowledges a start, which is a save of a new session."""
    try:
        reply = await client.send(port, "POST", "/api/sessions/start", {"user_id": "ada", "quiz_id": "probe"})
    except LostError:
        return False
    return reply.status == 201


@asynccontextmanager
async def deployment(
    settings: dict[str, Any] | None = None, environment: Path = ENVIRONMENT
) -> AsyncIterator[Deployment]:
    """Run a deployment, with other settings of Patroni if given."""
    with folder() as base:
        one = Deployment(base, settings, environment)
        try:
            await one.start()
            yield one
        finally:
            try:
                await one.stop_instances()
            finally:
                await asyncio.to_thread(one.nodes.stop)


async def switch_over(one: Deployment) -> None:
    """Let the synchronous standby lead, as before maintenance."""
    await asyncio.to_thread(one.nodes.switch_over)
    await _await_service(one)


async def kill_postgresql(one: Deployment) -> None:
    """Kill the leader's PostgreSQL; its Patroni lives."""
    leader = await asyncio.to_thread(one.nodes.leader)
    await asyncio.to_thread(leader.kill_postgresql)
    await _await_another_leader(one, leader)
    await _await_service(one)


async def kill_node(one: Deployment) -> None:
    """Kill the leader, PostgreSQL and Patroni, while its standbys lag; start it again after the failover."""
    leader = await asyncio.to_thread(one.nodes.leader)
    standbys = [node for node in one.nodes.nodes if node is not leader]
    for node in standbys:
        node.freeze_replication()
    # An asynchronous primary would acknowledge what no other node has.
    await asyncio.sleep(1)
    await asyncio.to_thread(leader.kill)
    for node in standbys:
        node.end_replication()
    await _await_another_leader(one, leader)
    await one.await_saves()
    await asyncio.to_thread(leader.start)
    await _await_service(one)


async def freeze_node(one: Deployment) -> None:
    """Freeze the leader, PostgreSQL and Patroni; thaw it after the failover."""
    await _freeze(one, Node.freeze)


async def freeze_postgresql(one: Deployment) -> None:
    """Freeze the leader's PostgreSQL, while its Patroni runs; thaw it after the failover."""
    await _freeze(one, Node.freeze_postgresql)


async def _freeze(one: Deployment, freeze: Callable[[Node], None]) -> None:
    leader = await asyncio.to_thread(one.nodes.leader)
    freeze(leader)
    try:
        await _await_another_leader(one, leader)
        await one.await_saves()
        # A synchronous standby of the new leader: the thawed one could take that, too.
        await eventually_async(lambda: asyncio.to_thread(one.nodes.has_synchronous_standby, leader))
    finally:
        leader.thaw()
    await asyncio.to_thread(_close_connections_until_demoted, one, leader)
    await _await_service(one)


def _close_connections_until_demoted(one: Deployment, thawed: Node) -> None:
    """Let the service connect again and again while the thawed node, its first host, takes connections."""
    others = [node for node in one.nodes.nodes if node is not thawed]
    while thawed.is_primary():
        for node in others:
            node.close_connections()


async def _await_another_leader(one: Deployment, leader: Node) -> None:
    await eventually_async(lambda: asyncio.to_thread(one.nodes.is_replaced, leader))


async def _await_service(one: Deployment) -> None:
    """Wait until all nodes are one cluster again without an operator, and each instance saves."""
    await asyncio.to_thread(one.nodes.await_whole)
    await one.await_saves()


FAULTS: list[Callable[[Deployment], Awaitable[None]]] = [
    switch_over,
    kill_postgresql,
    kill_node,
    freeze_node,
    freeze_postgresql,
]
