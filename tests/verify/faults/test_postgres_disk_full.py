"""Tests of PostgreSQL with a full disk: of the tables, and of the write-ahead log."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

import psycopg
import pytest

from tests.conftest import Urls
from tests.support.load import load
from tests.support.service import folder, running
from tests.verify.faults.deployment import Deployment, execute, migrated_postgres
from tests.verify.histories.postgres import Postgres


@pytest.mark.needs("mount")
def test_disk_full(deployment: Deployment) -> None:
    """With a full disk, writes are 503 not_applied; once there is space they succeed, without a loss."""

    async def run() -> None:
        with small_disk(deployment) as disk:
            async with load(deployment.service.url, size=2000) as clients:
                fill(disk)
                await clients.await_failures()
                (disk / "rest").unlink()
                await clients.await_recovery(monotonic())
            assert {save.outcome for save in clients.failures()} == {"not_applied"}
            assert clients.lost(deployment.postgres.owner_url) == []

    asyncio.run(run())


@pytest.mark.needs("mount")
def test_write_ahead_log_full(servers: Urls) -> None:
    """A PostgreSQL that panics because its write-ahead log is full loses nothing, and is used again."""

    async def run(postgres: Postgres, disk: Path, url: str) -> None:
        async with load(url) as clients:
            fill(disk)
            await asyncio.to_thread(fill_wal, postgres)
            await clients.await_failures()
            (disk / "rest").unlink()
            # PostgreSQL 18 may hang in a shutdown that meets its restart after the PANIC.
            await asyncio.to_thread(postgres.kill)
            await asyncio.to_thread(postgres.start)
            await clients.await_recovery(monotonic())
        assert clients.lost(postgres.owner_url) == []

    with folder() as base, migrated_postgres(base) as postgres, wal_disk(postgres) as disk:
        with running(servers | {"DATABASE_URL": postgres.url, "ERASE_DATABASE_URL": ""}) as service:
            asyncio.run(run(postgres, disk, service.url))
        assert "PANIC:  could not write" in (base / "postgres.log").read_text()


@contextmanager
def small_disk(deployment: Deployment) -> Iterator[Path]:
    """Move the service's table to a disk of 16 MB."""
    disk = deployment.postgres.base / "disk"
    disk.mkdir()
    with mounted(disk, "16m"):
        execute(deployment, f"create tablespace small location '{disk}'")
        execute(deployment, "alter table quiz_sessions set tablespace small")
        yield disk
        execute(deployment, "alter table quiz_sessions set tablespace pg_default")
        execute(deployment, "drop tablespace small")


@contextmanager
def wal_disk(postgres: Postgres) -> Iterator[Path]:
    """Move the write-ahead log to a disk of 64 MB."""
    postgres.stop()
    (data,) = postgres.base.glob("data-*")
    disk = postgres.base / "disk"
    disk.mkdir()
    with mounted(disk, "64m"):
        shutil.copytree(data / "pg_wal", disk / "pg_wal")
        for path in (disk / "pg_wal", *(disk / "pg_wal").rglob("*")):
            shutil.chown(path, "nobody")
        shutil.rmtree(data / "pg_wal")
        (data / "pg_wal").symlink_to(disk / "pg_wal")
        postgres.start()
        yield disk
        postgres.stop()


def fill_wal(postgres: Postgres) -> None:
    """Start new files of the write-ahead log until there is no space."""
    with suppress(psycopg.Error), psycopg.connect(postgres.owner_url, autocommit=True) as operator:
        for _ in range(20):
            operator.execute("select pg_logical_emit_message(false, 'x', 'x')")
            operator.execute("select pg_switch_wal()")


@contextmanager
def mounted(disk: Path, size: str) -> Iterator[None]:
    """Mount a disk in memory at the folder, for the user of PostgreSQL."""
    options = f"size={size},uid=nobody,mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", disk], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def fill(disk: Path) -> None:
    """Fill the disk."""
    with (disk / "rest").open("wb", buffering=0) as rest, suppress(OSError):
        while True:
            rest.write(bytes(4096))
