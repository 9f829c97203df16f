"""Tests of bin/smoke and bin/migrate."""

import os
import subprocess

from dev.reaper import ROOT
from tests.conftest import Urls
from tests.support.issuer import SERVICE_SCOPE, bearer
from tests.support.service import Service, free_port
from tests.support.validating_proxy import validating_proxy


def test_smoke_prints_every_check(service: Service) -> None:
    """bin/smoke prints one line per check, and exits with 0 if all pass."""
    with validating_proxy(service.url) as proxy:
        run = subprocess.run(["bin/smoke", proxy.url], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    lines = run.stdout.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == ["ok"] * 8
    assert lines[-1] == f"{proxy.url}: all 8 checks passed"


def test_smoke_sends_its_token(service_with_tokens: Service) -> None:
    """bin/smoke sends TOKEN; without it the checks of a service with authentication fail."""
    env = os.environ | {
        "TOKEN": bearer("smoke", scope=SERVICE_SCOPE)["authorization"].removeprefix("Bearer ")
    }
    command = ["bin/smoke", service_with_tokens.url]
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stdout.endswith("7 of 8 checks failed\n")


def test_smoke_fails_without_a_service() -> None:
    """bin/smoke exits with 1 if no service is running."""
    run = subprocess.run(
        ["bin/smoke", f"http://127.0.0.1:{free_port()}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert run.stdout.splitlines()[-1].endswith("8 of 8 checks failed")


def test_smoke_fails_on_a_broken_service(service_without_table: Service) -> None:
    """bin/smoke fails each check that needs the table if the table is missing."""
    with validating_proxy(service_without_table.url) as proxy:
        run = subprocess.run(["bin/smoke", proxy.url], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stdout.splitlines()[-1].endswith("7 of 8 checks failed")


def test_migrate_prints_applied_migrations(fresh_database: Urls) -> None:
    """bin/migrate prints the migrations that it has applied, or that there are none."""
    runs = [
        subprocess.run(
            ["bin/migrate"],
            cwd=ROOT,
            env={**os.environ, **fresh_database},
            capture_output=True,
            text=True,
            check=True,
        )
        for _ in range(2)
    ]
    names = ", ".join(sorted(file.stem for file in (ROOT / "sql" / "schema").glob("*.sql"))[1:])
    assert runs[0].stdout == f"applied: {names}\n"
    assert runs[1].stdout == "nothing to apply\n"
