"""The file of endpoints: each mistake is named in a line, without a URL or a secret."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from dev.reaper import ROOT
from session_service.environment import SettingError
from session_service.settings import webhooks_file
from session_service.webhooks import endpoints
from tests.conftest import Urls
from tests.support.service import failed_start
from tests.support.webhooks import SECRET, new_secret

PAGE = (ROOT / "docs" / "events.md").read_text()
HIDDEN = "S3cret"
URL = "url must be https://host/path, or http:// with private: true"
SECRETS = "secrets must be one, or two while rotating: each whsec_ and 24 to 64 bytes in base64"
MISTAKES: dict[str, list[dict[str, Any]]] = {
    URL: [
        {"url": f"http://h.example/{HIDDEN}"},
        {"url": f"ftp://h.example/{HIDDEN}", "private": True},
        {"url": f"https://u:{HIDDEN}@h.example/"},
        {"url": f"https://h.example/#{HIDDEN}"},
        {"url": f"https://h.example/a b{HIDDEN}"},
        {"url": f"https://h.example/é{HIDDEN}"},
        {"url": f"https://h.example:0/{HIDDEN}"},
        {"url": f"https://h.example:65536/{HIDDEN}"},
        {"url": f"https://a..b/{HIDDEN}"},
        {"url": f"https://[::1/{HIDDEN}"},
        {"url": f"https://h.example\\@{HIDDEN}/"},
        {"url": f"https:///{HIDDEN}"},
        {"url": "https://h.example/" + "a" * 2048},
        {"url": 7},
        {"url": None},
    ],
    SECRETS: [
        {"secrets": []},
        {"secrets": HIDDEN},
        {"secrets": [HIDDEN]},
        {"secrets": [f"whsec_{HIDDEN}"]},
        {"secrets": [f"whsec_{base64.b64encode(b'x' * 23).decode()}"]},
        {"secrets": [f"whsec_{base64.b64encode(b'x' * 65).decode()}"]},
        {"secrets": [SECRET, SECRET]},
        {"secrets": [SECRET, new_secret(), new_secret()]},
        {"secrets": [SECRET + "\n"]},
        {"secrets": [None]},
    ],
    "types must be some of session.started, ": [
        {"types": []},
        {"types": ["session.saved"]},
        {"types": [["session.started"]]},
        {"types": HIDDEN},
        {"types": None},
    ],
    "quiz_ids must be whole numbers from 1 to 9007199254740991, or texts": [
        {"quiz_ids": []},
        {"quiz_ids": [0]},
        {"quiz_ids": [True]},
        {"quiz_ids": [1.5]},
        {"quiz_ids": ["a\nb"]},
        {"quiz_ids": ["\ud800"]},
        {"quiz_ids": ["x" * 129]},
        {"quiz_ids": [2**53]},
    ],
    "private must be true or false": [{"private": "yes"}, {"private": None}],
    "it may have only url, secrets, types, quiz_ids, private": [{HIDDEN: 1}, {"secret": SECRET}],
}
VALID: dict[str, Any] = {"url": "https://h.example/hooks?a=b", "secrets": [SECRET]}


def mistakes(tmp_path: Path, text: str | bytes) -> list[str]:
    """Return the lines for a file with the text."""
    file = tmp_path / "webhooks.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingError) as error:
        endpoints.read(file)
    assert HIDDEN not in str(error.value)
    assert "h.example" not in str(error.value)
    assert "whsec_" not in str(error.value).replace("each whsec_ and", "")
    return str(error.value).split("\n")


@pytest.mark.parametrize(
    ("mistake", "fields"), [(mistake, fields) for mistake in MISTAKES for fields in MISTAKES[mistake]]
)
def test_a_mistake_is_named(tmp_path: Path, mistake: str, fields: dict[str, Any]) -> None:
    """An endpoint with one mistake gets one line with its name and the rule."""
    (line,) = mistakes(tmp_path, json.dumps({"grading": VALID | fields}))
    assert line.startswith(f"WEBHOOKS_FILE: grading: {mistake}")


def test_all_mistakes_are_named(tmp_path: Path) -> None:
    """All mistakes in all endpoints are named at once, a line for each."""
    given = {
        "a": {"url": 1, "secrets": 2, "types": 3, "quiz_ids": 4, "private": 5, "x": 6},
        "B": VALID,
        "c": 1,
    }
    assert [line.split(" ")[1] for line in mistakes(tmp_path, json.dumps(given))] == [*["a:"] * 6, "a", "c"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "7",
        "{",
        b"\xff",
        '{"a": {}, "a": {}}',
        "[" * 100_000,
        json.dumps({f"e{number}": VALID for number in range(51)}),
        " " * (1024 * 1024) + "{}",
    ],
)
def test_a_file_without_endpoints_is_rejected(tmp_path: Path, text: str | bytes) -> None:
    """A file that is no JSON object of 1 to 50 endpoints by different names is rejected with one line."""
    (line,) = mistakes(tmp_path, text)
    assert line.startswith("WEBHOOKS_FILE ")


def test_valid_endpoints(tmp_path: Path) -> None:
    """Every part of a URL is kept, a port has the default of its scheme, and ids are as in the feed."""
    file = tmp_path / "webhooks.json"
    more = {"types": ["session.started"], "quiz_ids": [7, "x"], "secrets": [SECRET, new_secret()]}
    given = {
        "plain": VALID,
        "full": VALID | more,
        "local-1": {"url": "http://[::1]:81", "secrets": [SECRET], "private": True},
    }
    file.write_text(json.dumps(given))
    plain, full, local = endpoints.read(file)
    assert (plain.scheme, plain.host, plain.port) == ("https", "h.example", 443)
    assert (plain.target, plain.authority) == ("/hooks?a=b", "h.example")
    assert plain.keys == (base64.b64decode(SECRET.removeprefix("whsec_")),)
    assert (plain.types, plain.quiz_ids, plain.private) == (None, None, False)
    assert (full.types, full.quiz_ids, len(full.keys)) == (["session.started"], ["7", "x"], 2)
    assert (local.authority, local.target, local.private) == ("[::1]:81", "/", True)
    assert len({plain.digest, local.digest}) == 2


def test_the_example_is_valid(tmp_path: Path) -> None:
    """The file in docs/events.md is valid, and neither its secret nor its path is in a representation."""
    (text,) = re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    file = tmp_path / "webhooks.json"
    file.write_text(text)
    (endpoint,) = endpoints.read(file)
    assert (endpoint.name, endpoint.host, endpoint.quiz_ids) == ("grading", "grading.example", ["7", "q1_1"])
    assert "hooks" not in repr(endpoint)
    assert repr(endpoint.keys[0]) not in repr(endpoint)


@pytest.mark.parametrize("value", ["", "webhooks.json", "/a\0b"])
def test_the_path_of_the_file_is_absolute(value: str) -> None:
    """The path must be absolute."""
    with pytest.raises(SettingError, match=r"^WEBHOOKS_FILE must be set to the absolute path of a file"):
        webhooks_file({"WEBHOOKS_FILE": value})


def test_a_start_with_mistakes_prints_their_lines(migrated: Urls, tmp_path: Path) -> None:
    """The process does not start with a mistake: it prints the lines and ends with exit status 1."""
    file = tmp_path / "webhooks.json"
    file.write_text(json.dumps({"grading": {"url": HIDDEN, "secrets": [HIDDEN]}}))
    lines = failed_start(migrated | {"WEBHOOKS_FILE": str(file)}, "session_service.webhooks").splitlines()
    assert [line.split(" must")[0] for line in lines] == [
        f"session-service: WEBHOOKS_FILE: grading: {name}" for name in ("url", "secrets")
    ]
    for fault in ({"WEBHOOKS_FILE": str(tmp_path)}, {"DATABASE_URL": "mysql://"}):
        (line,) = failed_start(
            migrated | {"WEBHOOKS_FILE": str(file)} | fault, "session_service.webhooks"
        ).splitlines()
        assert line.startswith(f"session-service: {next(iter(fault))} ")
