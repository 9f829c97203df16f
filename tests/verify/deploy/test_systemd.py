"""Tests of deploy/systemd: units that systemd accepts, and whose commands work. No systemd runs here.

`systemd-analyze` judges the units without it. The options of the sandbox are not applied to the commands.
"""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from dev.reaper import ROOT
from session_service.server import serve, supervisor
from session_service.settings import Settings
from tests.conftest import Urls
from tests.support.service import await_serving, free_port, validated_client
from tests.support.uncommenting import uncommented
from tests.support.waiting import LIMIT, eventually

FOLDER = ROOT / "deploy" / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))
COMMAND = "/opt/session-service/bin/session-service"
EXPOSURE = 20  # tenths: the limit of `systemd-analyze security`, from 0 to 100
# What a unit may read from /etc/session-service, by its variable there.
SECRETS = {
    "DATABASE_URL": "database-url",
    "ERASE_DATABASE_URL": "erase-database-url",
    "MIGRATION_DATABASE_URL": "migration-database-url",
    "REDIS_URL": "redis-url",
}


def values(unit: Path, option: str) -> list[str]:
    """Return the values of an option, in order."""
    return re.findall(rf"^{option}=(.*)$", unit.read_text(), re.MULTILINE)


def environment(unit: Path, credentials: Path, urls: Urls) -> Urls:
    """Return the variables of the unit, with its credentials as files in the folder."""
    contents = {SECRETS[name]: url for name, url in urls.items() if name in SECRETS}
    contents |= {"digest-key": "x" * 40, "webhooks.json": "{}"}
    for name, place in (value.split(":") for value in values(unit, "LoadCredential")):
        assert place == f"/etc/session-service/{name}"
        (credentials / name).write_text(f"{contents[name]}\n")
    pairs = (pair.split("=", 1) for line in values(unit, "Environment") for pair in line.split())
    return {"PATH": os.environ["PATH"]} | {
        name: value.replace("%d", str(credentials)) for name, value in pairs
    }


def command(unit: Path) -> list[str]:
    """Return the command of the unit, as one of this checkout."""
    (line,) = values(unit, "ExecStart")
    assert line.startswith(f"{COMMAND} ")
    run = "import sys; from session_service.command import main; sys.exit(main())"
    return [sys.executable, "-c", run, *line.split()[1:]]


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_accepts_each_unit(unit: Path, tmp_path: Path) -> None:
    """The unit has no unknown option and no wrong value, and its sandbox is rated as OK."""
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace(COMMAND, "/bin/true"))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True, check=False
    )
    # It reads the other units of the machine, too.
    assert [line for line in verified.stderr.splitlines() if "session-service" in line] == []
    assert verified.returncode == 0, verified.stderr
    limit: list[str | Path] = [
        "systemd-analyze",
        "security",
        "--offline=true",
        f"--threshold={EXPOSURE}",
        "--no-pager",
        copy,
    ]
    rated = subprocess.run(limit, capture_output=True, text=True, check=False)
    assert rated.returncode == 0, rated.stdout[-200:]


def test_the_units_run_the_service(fresh_database: Urls, tmp_path: Path) -> None:
    """The migrations, then the service: it renews its workers on SIGHUP, and SIGTERM ends it in time."""
    migrate, service = FOLDER / "session-service-migrate.service", FOLDER / "session-service.service"
    env = environment(migrate, tmp_path, fresh_database)
    migrated = subprocess.run(command(migrate), cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert migrated.stdout.startswith("applied: ")
    port, log = free_port(), tmp_path / "log"
    env = environment(service, tmp_path, fresh_database)
    env |= {"PORT": str(port), "ADMIN_PORT": str(free_port())}
    url = f"http://127.0.0.1:{port}"
    with (
        log.open("w") as output,
        subprocess.Popen(command(service), cwd=ROOT, env=env, stdout=output, stderr=output) as process,
    ):
        try:
            await_serving(url, process, log)
            eventually(lambda: log.read_text().count("Running on ") == 2, log.read_text)
            assert values(service, "ExecReload") == ["/bin/kill -HUP $MAINPID"]
            process.send_signal(signal.SIGHUP)
            eventually(lambda: log.read_text().count("Running on ") == 4, log.read_text)
            with validated_client(url) as client:
                started = client.post("/api/sessions/start", json={"user_id": "ada", "quiz_id": 7})
                assert started.status_code == 201
            process.terminate()
            assert process.wait(LIMIT) == 0
        finally:
            process.kill()


def test_erasing_can_be_switched_on(fresh_database: Urls, tmp_path: Path) -> None:
    """The lines that are comments give the credential to the migrations and to the service."""
    migrate, service = (
        tmp_path / name for name in ("session-service-migrate.service", "session-service.service")
    )
    for unit in (migrate, service):
        unit.write_text(uncommented((FOLDER / unit.name).read_text()))
    eraser = fresh_database["DATABASE_URL"].replace("session_service", "session_eraser")
    urls = fresh_database | {"ERASE_DATABASE_URL": eraser}
    env = environment(migrate, tmp_path, urls)
    subprocess.run(command(migrate), cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    with psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"]) as database:
        query = "select has_table_privilege('session_eraser', 'quiz_sessions', 'delete')"
        assert database.execute(query).fetchone() == (True,)
    settings = Settings.read(environment(service, tmp_path, urls))
    assert settings.erasing is not None
    assert settings.erasing.database_url == eraser


def test_the_unit_of_the_migrations_can_run_the_fence(migrated: Urls, tmp_path: Path) -> None:
    """Its credentials are those that bin/fence needs."""
    unit = FOLDER / "session-service-migrate.service"
    env = environment(unit, tmp_path, migrated)
    fence = [*command(unit)[:-1], "fence", "--dry-run"]
    ended = subprocess.run(fence, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert ended.stdout.startswith("sessions: "), ended.stderr


def test_the_webhooks_run(migrated: Urls, tmp_path: Path) -> None:
    """The unit of the webhooks reads its credentials: a file without an endpoint is named as the fault."""
    unit = FOLDER / "session-service-webhooks.service"
    env = environment(unit, tmp_path, migrated)
    ended = subprocess.run(command(unit), cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert ended.stderr.startswith("session-service: WEBHOOKS_FILE"), ended.stderr


def test_units_stop_before_they_are_killed() -> None:
    """TimeoutStopSec is longer than the timeouts for graceful shutdown; only the supervisor gets SIGTERM."""
    for unit in UNITS:
        if values(unit, "Type") == ["exec"]:
            (seconds,) = values(unit, "TimeoutStopSec")
            needed = max(serve.GRACEFUL_TIMEOUT, supervisor.STOP_TIMEOUT + supervisor.HANDOVER_DELAY)
            assert int(seconds) > needed
            assert values(unit, "Restart") == ["always"]
    assert values(FOLDER / "session-service.service", "KillMode") == ["mixed"]
