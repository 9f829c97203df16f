"""Restores with the commands of docs/backup.md: no version has two contents, no learner loses an answer."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dev.reaper import ROOT
from tests.support.feed import PATH
from tests.support.journal import JUMP
from tests.support.orders import given
from tests.support.receiver import Receiver, receiving
from tests.support.waiting import eventually
from tests.support.webhooks import local, sending
from tests.verify.backup.deployment import Deployment, commands, deployment
from tests.verify.backup.devices import Device
from tests.verify.backup.story import Story
from tests.verify.clients import programs

(SAVE_DUMP, RESTORE_DUMP) = commands("A dump")
(ARCHIVE, BASE_BACKUP, RESTORE_BASE) = commands("A base backup and the WAL archive")
(FENCE, CHECK) = commands("After every restore")
(ERASE,) = commands("Erase again")
AFTER = {"1": "before", "2": "after", "3": "after"}  # answers of each learner, in the end

OVERDUE = "update quiz_sessions set expires_at = started_at, closes_at = started_at"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packaged client, and the program of a device."""
    project = tmp_path_factory.mktemp("devices")
    subprocess.run([ROOT / "bin" / "client", "python", project], check=True, capture_output=True)
    for name in ("harness.py", "processes.py"):
        shutil.copy(programs.HERE / name, project)
    return project


@pytest.fixture
def here() -> Iterator[Deployment]:
    """A deployment of the test."""
    with deployment() as one:
        yield one


class Dump:
    """A dump, and its restore."""

    def __init__(self, here: Deployment) -> None:
        self._here = here

    def begin(self) -> None:
        """Do nothing yet: all is in the dump until `end`."""

    def end(self) -> None:
        """Make the dump: changes from now on are lost."""
        self._here.run(SAVE_DUMP)

    def lose(self) -> None:
        """Lose the server."""
        self._here.lose_postgres()

    def restore(self) -> None:
        """Restore the dump to a new server."""
        self._here.start_postgres()
        self._here.run(RESTORE_DUMP)


class BaseBackup(Dump):
    """A base backup with the archive of the WAL, and the restore to a moment after it."""

    def __init__(self, here: Deployment) -> None:
        super().__init__(here)
        here.run(ARCHIVE)
        here.restart_postgres()

    def begin(self) -> None:
        """Make the base backup: changes from now on are in the archive."""
        self._here.run(BASE_BACKUP)

    def end(self) -> None:
        """Note the moment."""
        ((moment,),) = self._here.query("select clock_timestamp()::text")
        self._moment = str(moment)

    def lose(self) -> None:
        """Lose the server when the archive is complete."""
        self._here.await_archive()
        self._here.lose_postgres()

    def restore(self) -> None:
        """Restore the moment."""
        self._here.run(RESTORE_BASE, MOMENT=self._moment)
        self._here.await_promotion()


KINDS = pytest.mark.parametrize("kind", [Dump, BaseBackup])


@KINDS
def test_after_a_restore_no_version_has_two_contents(here: Deployment, kind: type[Dump]) -> None:
    """Nothing that was shown in the lost time is contradicted: no 304, no If-Match, no copy in the cache."""
    story, backup = Story(), kind(here)
    with here.serving() as service, receiving() as receiver, sending(here.urls, _endpoint(receiver)):
        story.begin(service)
        backup.begin()
        story.remember(service)
        backup.end()
        story.go_on(service)
        eventually(lambda: f"{story.gone}_1" in receiver.ids)
        backup.lose()
    backup.restore()
    assert "highest version: 3\n" in here.run(FENCE)
    with here.serving() as service, receiving() as receiver, sending(here.urls, _endpoint(receiver)):
        assert story.check(service) == []
        response = service.client.get(PATH, params={"after": story.cursor})
        assert (response.status_code, response.json()["errorCode"]) == (410, "EVENTS_GONE")
        here.run(CHECK)
        # Webhooks go on, with the jump of the session that runs and with its end.
        end = service.complete(story.runs).json()["version"]
        eventually(lambda: {f"{story.runs}_{version}" for version in (2 + JUMP, end)} <= {*receiver.ids})
        # An erased session is back until it is erased again.
        user = service.read(story.erased).json()["user_id"]
        (here.base / "backup" / "erased-users").write_text(f"{user}\n")
        here.run(ERASE)
        assert service.read(story.erased).status_code == 404


def test_without_a_fence_versions_have_two_contents(here: Deployment) -> None:
    """The check of this file finds all that happens without bin/fence."""
    story, backup = Story(), Dump(here)
    with here.serving() as service:
        story.begin(service)
        story.remember(service)
        backup.end()
        story.go_on(service)
    backup.lose()
    backup.restore()
    here.run("bin/migrate")
    with here.serving() as service:
        found = "\n".join(story.check(service))
    for kind in ("two contents", "304 for", "saved onto", "is not as it was", "is shown"):
        assert kind in found


@KINDS
def test_after_a_restore_learners_have_their_answers(
    here: Deployment, project: Path, kind: type[Dump]
) -> None:
    """The packaged client brings back what was acknowledged in the lost time, also of a lost session."""
    backup = kind(here)
    with ExitStack() as stack:
        names = ("stays", "is-killed", "is-offline", "ends", "begins-late", "begins-late-and-is-killed")
        devices = [Device(project, f"http://127.0.0.1:{here.port}", name) for name in names]
        for device in devices:
            stack.callback(device.kill)
        old, killed, offline, ends = devices[:4], (devices[1], devices[5]), devices[2], devices[3]
        with here.serving() as service:
            backup.begin()
            for device in old:
                device.do("open", "answer 1 before", "answer 2 before", "flush")
            backup.end()
            for device in devices:
                device.do("open", "answer 1 before", "answer 2 after", "answer 3 after", "flush")
                assert device.answers(service) == AFTER
            backup.lose()
        for device in killed:
            device.kill()
        offline.ask("answer 4 offline")
        backup.restore()
        here.run(FENCE)
        # As after a longer outage.
        ((session,),) = here.query(f"{OVERDUE} where user_id = '{ends.user}' returning id")
        with here.serving() as service:
            assert [device.answers(service) for device in old] == [{"1": "before", "2": "before"}] * 4
            for device in killed:
                device.start()
            ends.do("open")
            assert given(service, "deadline", session, extra_seconds=3600)["status"] == "in_progress"
            for device in devices:
                device.do("open", "flush")
                more = {"4": "offline"} if device is offline else {}
                assert device.answers(service) == AFTER | more
                device.do("complete")


def _endpoint(receiver: Receiver) -> dict[str, object]:
    return {"grading": local(receiver.url())}
