"""Tests of the clients that other generators make from openapi.yaml, without an option for the document."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dev.reaper import ROOT
from tests.support.growth import grown
from tests.support.service import Service, validated_client
from tests.support.validating_proxy import validating_proxy
from tests.verify.clients import programs
from tests.verify.generators.tools import OPENAPI_GENERATOR, TOOLS, Tool, install, locked

PAGE = (ROOT / "docs" / "clients.md").read_text()

# Operations and statuses that the life of a session reaches.
LIFE = {
    ("getHealth", 200),
    ("startSession", 201),
    ("startSession", 200),
    ("updateProgress", 200),
    ("updateProgress", 409),
    ("updateProgress", 410),
    ("saveAnswers", 200),
    ("getSession", 200),
    ("getSession", 404),
    ("getSession", 410),
    ("listSessions", 200),
    ("completeSession", 200),
    ("pauseSession", 200),
    ("updateProgress", 423),
    ("changeDeadline", 200),
    ("resumeSessions", 200),
    ("reopenSession", 200),
    ("listSessionEvents", 200),
    ("listEvents", 200),
}

each_tool = pytest.mark.parametrize(
    "tool",
    [
        pytest.param(tool, id=tool.name, marks=[pytest.mark.needs(need) for need in tool.needs])
        for tool in TOOLS
    ],
)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Tool], Path]:
    """Build a tool's client and program once, also if several processes run the tests."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def build(tool: Tool) -> Path:
        for folder in tool.folders:
            with locked(shared / f"{folder.name}.lock"):
                install(folder)
        made = shared / tool.name.rpartition("/")[2]
        with locked(made.with_suffix(".lock")):
            if not (made / "built").exists():
                shutil.rmtree(made, ignore_errors=True)
                tool.build(made)
                (made / "built").touch()
        return made

    return build


@each_tool
def test_life_of_a_session(tool: Tool, project: Callable[[Tool], Path], service: Service) -> None:
    """The client starts, saves, reads, completes and gives orders, and gets the session of each error."""
    assert programs.run(project(tool), service, tool.life()) == LIFE


@each_tool
def test_growth(tool: Tool, project: Callable[[Tool], Path], service: Service) -> None:
    """A reply with one more field in each object breaks no client."""
    assert programs.run(project(tool), service, tool.life(), change=grown) == LIFE


def test_a_grown_reply_is_not_that_of_the_contract(service: Service) -> None:
    """A reader that accepts only what the contract declares refuses the replies of the test of growth."""
    with validating_proxy(service.url) as proxy, validated_client(proxy.url) as exact:
        exact.get("/health")
        proxy.change = grown
        with pytest.raises(AssertionError, match="added_later"):
            exact.get("/health")


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_the_page_has_the_commands(tool: Tool) -> None:
    """docs/clients.md has the command with which each tested client is made."""
    command = tool.command.removeprefix(f"{OPENAPI_GENERATOR} ")
    assert f"| `{command}` |" in PAGE
