"""Tests of NAME_FILE: each secret may be in a file, which every command reads, and no error prints it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dev.reaper import ROOT
from session_service import environment, settings
from session_service.environment import SettingError
from session_service.settings import Settings
from tests.conftest import Urls
from tests.support.service import failed_start, running

# Valid values of the settings that hold a secret; SECRET is a part of each.
SECRET = "S3cret"  # noqa: S105 - of no server
SECRETS = {
    "DATABASE_URL": f"postgresql://u:{SECRET}@127.0.0.1:1/d",
    "MIGRATION_DATABASE_URL": f"postgresql://owner:{SECRET}@127.0.0.1:1/d",
    "ERASE_DATABASE_URL": f"postgresql://eraser:{SECRET}@127.0.0.1:1/d",
    "REDIS_URL": f"redis://:{SECRET}@127.0.0.1:1",
    "DIGEST_KEY": SECRET * 6,
}
DOCUMENTED = (ROOT / "docs" / "settings.md").read_text()


def _read(env: Urls) -> tuple[object, ...]:
    """Read every setting, also those of the commands."""
    return Settings.read(env), settings.migration_database_url(env), settings.cache_settings(env)


def _in_files(folder: Path, end: str = "\n") -> Urls:
    """Write each secret to a file, and return the variables with their paths."""
    for name, value in SECRETS.items():
        (folder / name).write_text(value + end)
    return {f"{name}_FILE": str(folder / name) for name in SECRETS}


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_every_secret_is_read_from_its_file(tmp_path: Path, end: str) -> None:
    """Settings from files, with or without a line feed at the end, equal those from variables."""
    assert _read(_in_files(tmp_path, end)) == _read(SECRETS)


def test_an_empty_variable_counts_as_missing(tmp_path: Path) -> None:
    """An empty NAME beside NAME_FILE, as Compose passes it on, does not matter."""
    assert _read(_in_files(tmp_path) | dict.fromkeys(SECRETS, "")) == _read(SECRETS)
    assert _read(SECRETS | {f"{name}_FILE": "" for name in SECRETS}) == _read(SECRETS)


def test_the_page_of_settings_lists_every_secret() -> None:
    """docs/settings.md lists the settings that may be in a file, and these are all that the code reads so."""
    (listed,) = re.findall(r"A secret may be in a file instead.*?\n\n", DOCUMENTED, re.DOTALL)
    assert set(re.findall(r"`([A-Z_]+)_FILE`", listed)) == {*SECRETS, "NAME"}
    source = (ROOT / "session_service" / "settings.py").read_text()
    read = set(re.findall(r'read_(?:key|secret|url|postgresql_url)\(env, "([A-Z_]+)"', source))
    assert read == SECRETS.keys()


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize(
    "fault", ["both", "missing", "folder", "relative", "pipe", "empty", "large", "binary"]
)
def test_a_file_that_cannot_be_used(tmp_path: Path, name: str, fault: str) -> None:
    """The line names the variable and the fault, and has neither the path nor the content."""
    path = tmp_path / SECRET
    env = SECRETS | {name: "", f"{name}_FILE": str(path)}
    match fault:
        case "both":
            path.write_text(SECRETS[name])
            env[name] = SECRETS[name]
        case "folder":
            path.mkdir()
        case "relative":
            env[f"{name}_FILE"] = os.path.relpath(path, ROOT)
            path.write_text(SECRETS[name])
        case "pipe":
            os.mkfifo(path)
        case "empty":
            path.write_text("\n")
        case "large":
            path.write_text(SECRETS[name] + environment.MAX_SECRET_BYTES * "x")
        case "binary":
            path.write_bytes(SECRETS[name].encode() + b"\xff")
    with pytest.raises(SettingError, match=f"^{name}[_ ]") as raised:
        _read(env)
    assert SECRET not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    """A file whose reading fails is named by its variable: root may read each file but such as this one."""
    env = _in_files(tmp_path)
    with pytest.raises(SettingError, match=r"^DIGEST_KEY_FILE has the path of a file that cannot be read"):
        Settings.read(env | {"DIGEST_KEY_FILE": "/proc/self/mem"})


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL"])
def test_an_invalid_url_in_a_file(tmp_path: Path, name: str) -> None:
    """A URL of a file is checked as that of the variable."""
    (tmp_path / "url").write_text(f"http://{SECRET}\n")
    with pytest.raises(SettingError, match=f"^{name} must be set to a URL") as raised:
        Settings.read(SECRETS | {name: "", f"{name}_FILE": str(tmp_path / "url")})
    assert SECRET not in str(raised.value)


def test_every_command_reads_the_files(fresh_database: Urls, tmp_path: Path) -> None:
    """The migrations, the service, the export and the webhooks work with files alone."""
    env: Urls = {}
    for name, url in fresh_database.items():
        (tmp_path / name).write_text(f"{url}\n")
        env |= {name: "", f"{name}_FILE": str(tmp_path / name)}
    assert "applied: " in _output(env, "session_service.storage.migrations")
    with running(env) as service:
        session = service.start()
        assert str(session["id"]) in _output(env, "session_service.export", "--format", "ndjson")
        counted = _output(env, "session_service.storage.erase_command", "--user", "ada", "--dry-run")
        assert counted.startswith("quiz_sessions: 0")
    ended = failed_start({**env, "DATABASE_URL_FILE": "/nowhere"}, "session_service.webhooks")
    assert ended == "session-service: DATABASE_URL_FILE must be the absolute path of a file\n"


def _output(env: Urls, module: str, *arguments: str) -> str:
    command = [sys.executable, "-m", module, *arguments]
    given = os.environ | env
    return subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, check=True).stdout
