"""Tests of README.md, CONTRIBUTING.md and docs/: commands, settings, folders and links are correct."""

import re
import subprocess
from itertools import zip_longest
from pathlib import Path

import pytest

from dev.reaper import ROOT
from session_service.command import COMMANDS
from session_service.settings import Settings
from tests.conftest import Urls
from tests.support.service import Service
from tests.support.validating_proxy import validating_proxy

README = (ROOT / "README.md").read_text()
SETTINGS = (ROOT / "docs" / "settings.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
PAGES = ("README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))


@pytest.mark.needs("curl")
def test_the_tour_prints_its_output(service: Service) -> None:
    """Each command of the README's tour prints the output below it, except for ids and times."""
    (tour,) = re.findall(r"## Four requests\n.*?```console\n(.*?)```", README, re.DOTALL)
    steps = re.findall(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", tour, re.MULTILINE)
    assert len(steps) == 5
    session_id = ""
    with validating_proxy(service.url) as proxy:
        for command, printed in steps:
            ready = command.replace("127.0.0.1:3005", proxy.url)
            ready = re.sub(r"^id=.*", f"id={session_id}", ready)
            run = subprocess.run(
                ["sh", "-c", f"id={session_id}; {ready}"], capture_output=True, text=True, check=True
            )
            assert _plain(run.stdout) == _plain(printed), command
            found = re.match(r'\{"id":"([^"]+)"', run.stdout)
            session_id = found[1] if found else session_id


def test_every_setting_is_documented(migrated: Urls) -> None:
    """The table of settings has every environment variable with its default."""
    rows = re.findall(r"^\| (`[A-Z_`, ]+`) \|([^|]*)\|", SETTINGS, re.MULTILINE)
    listed = {
        name: default
        for names, defaults in rows
        for name, default in zip_longest(
            re.findall(r"[A-Z_]+", names), re.findall(r"`([^`]+)`", defaults), fillvalue=""
        )
    }
    source = (ROOT / "session_service" / "settings.py").read_text()
    assert listed.keys() == set(re.findall(r'"([A-Z_]{4,})"', source))
    given = {name: default for name, default in listed.items() if default and not name.endswith("_URL")}
    tokens = {"AUTH": "jwt", "JWT_KEYS": "/keys", "JWT_ISSUER": "x", "JWT_AUDIENCE": "x"}
    for more in ({}, tokens):
        assert Settings.read(migrated | given | more) == Settings.read(migrated | more)


@pytest.mark.parametrize("text", [README, ARCHITECTURE], ids=["README", "architecture"])
def test_every_folder_is_documented(text: str) -> None:
    """The README's map and the architecture name every folder of the package."""
    folders = {path.parent.name for path in (ROOT / "session_service").glob("*/__init__.py")}
    assert folders == set(re.findall(r"`session_service/(\w+)/`", text))


@pytest.mark.parametrize("text", [README, OPERATIONS], ids=["README", "operations"])
def test_every_command_of_the_package_is_named(text: str) -> None:
    """The README and the page for operators name the commands of `session-service`."""
    (named,) = re.findall(r"`session-service (migrate`[^.]*?) are\s`bin/migrate` and the\sothers", text)
    assert {"serve", *re.findall(r"\w+(?=`)", named)} == COMMANDS.keys()


def test_the_contents_of_the_page_for_operators() -> None:
    """The table of contents links to each section, and to the page about failover."""
    contents, *sections = re.split(r"^## (?=.)", OPERATIONS, flags=re.MULTILINE)
    anchors = {section.partition("\n")[0].lower().replace(" ", "-") for section in sections}
    assert anchors == set(re.findall(r"\]\(#([a-z-]+)\)", contents))
    assert "](high-availability.md)" in contents


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    """Relative links and file names in code style lead to files in the repository."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    folder = (ROOT / page).parent
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    assert [link for link in links if not (folder / link).exists()] == []
    named = re.findall(r"`((?:session_service|sql|tests|dev|contract|bin|docs)/[\w/.-]*)", text)
    assert [name for name in named if not Path(ROOT, name).exists()] == []


def _plain(text: str) -> str:
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", text)
    return re.sub(r"20\d\d-[0-9T:.-]+Z", "TIME", text).strip()
