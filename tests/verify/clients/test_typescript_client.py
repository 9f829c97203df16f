"""Tests of the TypeScript client: its types, the life of a session, and the class Attempt."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dev.reaper import ROOT
from tests.conftest import Urls
from tests.support.conformance import DOCUMENT
from tests.support.growth import grown
from tests.support.issuer import KEY
from tests.support.service import Service
from tests.verify.clients import programs
from tests.verify.clients.properties import check_promise, steps

PROGRAMS = [
    *("life.ts", "learners.ts", "harness.ts", "tabs.ts", "network.ts", "device.ts"),
    *("keeping.ts", "storing.ts", "saving.ts", "sharing.ts", "owning.ts", "teaching.ts", "anything.ts"),
]

SAVING = [
    "background",
    "background_waits",
    "hidden_page",
    "large_answers",
    "online_again",
    "undecided_while_typing",
    "started_again",
    "small_proxy",
]
KEEPING = [scenario for scenario in programs.KEEPING if scenario not in SAVING]
KEEPING_MORE = ["names_of_objects", "unknown_status", "late_decision", "ran_again"]
STORING = [
    "slow_store",
    "late_write",
    "late_read",
    "late_token",
    "stored",
    "partial_store",
    "session_at_its_limit",
    "answered_during_a_move",
    "read_again",
]
SHARING = [
    "slow_shared_store",
    "closed_tabs",
    "follower_hands_in",
    "date_set_back",
    "date_set_back_in_between",
    "same_millisecond",
    "closed_before_written",
    "woken_owner",
    "full_follower",
    "entries_that_stay",
    "waiting_tabs",
    "next_attempt",
    "two_tabs_one_question",
    "owner_ends_while_collecting",
]
OWNING = [
    "suspended_owner",
    "suspended_while_sending",
    "expired_lease",
    "new_owner",
    "denied_locks",
    "other_version",
    "unknown_messages",
    "clock_of_a_follower",
    "suspended_after_a_restart",
    "idle_takeover",
    "never_opened",
]

pytestmark = pytest.mark.needs("node")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed client and the programs that use it."""
    project = tmp_path_factory.mktemp("typescript-client")
    modules = project / "node_modules"
    modules.mkdir()
    client = modules / "session-service-client"
    subprocess.run([ROOT / "bin" / "client", "typescript", client], check=True, capture_output=True)
    for name in ("openapi-fetch", "openapi-typescript-helpers", "idb-keyval", "@types", "undici-types"):
        (modules / name).symlink_to(ROOT / "contract" / "node_modules" / name)
    (project / "package.json").write_text('{"type": "module"}')
    for name in PROGRAMS:
        shutil.copy(programs.HERE / name, project)
    return project


@pytest.fixture(scope="module")
def compiled(project: Path) -> Path:
    """The programs as JavaScript, compiled with strict types."""
    options = json.loads((ROOT / "contract" / "clients" / "typescript" / "tsconfig.json").read_text())
    options["compilerOptions"] |= {"types": ["node"], "declaration": False}
    (project / "tsconfig.json").write_text(json.dumps(options | {"files": PROGRAMS}))
    tsc = ROOT / "contract" / "node_modules" / ".bin" / "tsc"
    built = subprocess.run([tsc, "-p", project], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout
    return project


def test_the_readme_is_the_guide(project: Path) -> None:
    """The package's README is docs/client.md, with no link that leads out of the package."""
    readme = (project / "node_modules" / "session-service-client" / "README.md").read_text()
    assert readme.startswith((ROOT / "docs" / "client.md").read_text().partition("\n")[0])
    assert "](" not in readme


def test_types_are_those_of_the_contract(project: Path) -> None:
    """Each component has a type of its name, and none is any or unknown."""
    text = (project / "node_modules" / "session-service-client" / "schema.d.ts").read_text()
    names = set(re.findall(r"^export type (\w+) = components\['schemas'\]", text, re.MULTILINE))
    assert names == DOCUMENT["components"]["schemas"].keys()
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL).replace("[name: string]: unknown;", "")
    assert re.findall(r"\b(?:any|unknown)\b(?!\")", code) == []


def test_version_is_that_of_the_contract(project: Path) -> None:
    """The package has the version of the contract."""
    package = json.loads((project / "node_modules" / "session-service-client" / "package.json").read_text())
    assert package["version"] == DOCUMENT["info"]["version"]


def test_life_of_a_session(compiled: Path, service: Service) -> None:
    """The client starts, saves, retries a conflict, lists, completes and sees expiry, with typed results."""
    seen = programs.run(compiled, service, ["node", "life.js", "URL"])
    assert seen >= programs.REACHED_2


def test_growth(compiled: Path, service: Service) -> None:
    """A reply with one more field in each object breaks nothing."""
    seen = programs.run(compiled, service, ["node", "life.js", "URL"], change=grown)
    assert seen >= programs.REACHED_2


def test_an_attempt_loses_no_answer(compiled: Path, service: Service) -> None:
    """Attempts keep or report every answer on a bad network: learners.ts describes what learners do."""
    command = ["node", "learners.js", "URL"]
    seen = programs.run(compiled, service, command, programs.bad_network)
    assert seen >= {
        ("saveAnswers", 200),
        ("saveAnswers", 409),
        ("saveAnswers", 410),
        ("completeSession", 200),
    }


@pytest.mark.parametrize("scenario", programs.NETWORK)
def test_an_attempt_on_a_bad_network(compiled: Path, service: Service, migrated: Urls, scenario: str) -> None:
    """An attempt loses no answer and never rejects: network.ts describes each scenario."""
    arguments = programs.NETWORK[scenario]
    programs.run_scenario(compiled, service, migrated, ["node", "network.js"], scenario, *arguments)


@pytest.mark.parametrize("scenario", [*programs.DEVICE, "insecure_page", "slow_decision"])
def test_an_attempt_on_a_bad_device(compiled: Path, service: Service, migrated: Urls, scenario: str) -> None:
    """An attempt loses no answer and never rejects: device.ts describes each scenario."""
    programs.run_scenario(compiled, service, migrated, ["node", "device.js"], scenario)


@pytest.mark.parametrize("scenario", [*KEEPING, *KEEPING_MORE])
def test_an_attempt_keeps_every_answer(
    compiled: Path, service: Service, migrated: Urls, scenario: str
) -> None:
    """An attempt keeps every answer: keeping.ts describes each scenario."""
    programs.run_scenario(compiled, service, migrated, ["node", "keeping.js"], scenario)


@pytest.mark.parametrize("scenario", SAVING)
def test_autosave(compiled: Path, service: Service, migrated: Urls, scenario: str) -> None:
    """Autosave saves each answer with few requests: saving.ts describes each scenario."""
    programs.run_scenario(compiled, service, migrated, ["node", "saving.js"], scenario)


@pytest.mark.parametrize("scenario", STORING)
def test_a_store_that_fails_stops_no_save(
    compiled: Path, service: Service, migrated: Urls, scenario: str
) -> None:
    """A store that is slow, or never returns, stops no save: storing.ts describes each scenario."""
    programs.run_scenario(compiled, service, migrated, ["node", "storing.js"], scenario)


@pytest.mark.parametrize("scenario", SHARING)
def test_tabs_share_one_queue(compiled: Path, service: Service, migrated: Urls, scenario: str) -> None:
    """Tabs of a device send each answer once, and the last one counts: sharing.ts describes each scenario."""
    programs.run_scenario(compiled, service, migrated, ["node", "sharing.js"], scenario)


@pytest.mark.parametrize("scenario", OWNING)
def test_one_tab_owns_the_queue(compiled: Path, service: Service, migrated: Urls, scenario: str) -> None:
    """One tab of a device sends, and another one takes over: owning.ts describes each scenario."""
    programs.run_scenario(compiled, service, migrated, ["node", "owning.js"], scenario)


@pytest.mark.parametrize("scenario", [*programs.TEACHING, "tabs"])
def test_a_teacher_changes_the_time(compiled: Path, service: Service, migrated: Urls, scenario: str) -> None:
    """An attempt follows a pause, an extension, an end and a reopening: teaching.ts describes each."""
    programs.run_scenario(compiled, service, migrated, ["node", "teaching.js"], scenario)


@pytest.mark.parametrize("devices", [1, 2])
def test_whatever_fails(compiled: Path, service: Service, migrated: Urls, devices: int) -> None:
    """Whatever fails, the answer given last is stored, or the attempt says that it is not saved."""
    check_promise(["node", "anything.js"], compiled, service, migrated, steps(devices))


@pytest.mark.parametrize("devices", [1, 2])
def test_whatever_tabs_do(compiled: Path, service: Service, migrated: Urls, devices: int) -> None:
    """Whatever tabs of a device do, and its clock, the answer given last is stored, or said to be unsaved."""
    check_promise(["node", "anything.js"], compiled, service, migrated, steps(devices, tabs=True))


def test_an_attempt_asks_for_tokens(compiled: Path, service_with_tokens: Service, migrated: Urls) -> None:
    """An attempt asks for a token before its first request and after a 401."""
    tokens = KEY.token("asked"), KEY.token("asked", exp=1)
    command = ["node", "keeping.js"]
    programs.run_scenario(compiled, service_with_tokens, migrated, command, "asked_token", *tokens, "asked")


def test_an_attempt_waits_for_a_new_token(
    compiled: Path, service_with_tokens: Service, migrated: Urls
) -> None:
    """After a 401 an attempt loses nothing until it has a client with a new token."""
    tokens = KEY.token("typescript"), KEY.token("typescript", exp=1)
    command = ["node", "network.js"]
    programs.run_scenario(compiled, service_with_tokens, migrated, command, "token", *tokens, "typescript")
