"""Tests of exports as CSV in LibreOffice: texts, line breaks, formulas and long ids are intact."""

import re
import subprocess
import zipfile
from pathlib import Path
from typing import Any
from uuid import uuid4
from xml.etree import ElementTree as ET

import pytest

from dev.reaper import ROOT
from tests.support.exports import PATH, table
from tests.support.service import Service
from tests.support.waiting import LIMIT

CELL = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
LONG_ID = "12345678901234567"
ANSWERS: dict[str, Any] = {
    "umlauts": "Grüße aus Öhringen, ßÄ€😀",
    "break": 'first "line"\nsecond, line',
    "sum": "=1+1",
    "link": '=HYPERLINK("http://x.example","click")',
    "minus": "-1+1",
    "at": "@SUM(1)",
    "tab": "\t=1+1",
    LONG_ID: LONG_ID,
    "zeros": "007",
    "date": "1/2",
    "power": "1E5",
    "truth": "TRUE",
    "number": -5,
    "float": 2.25,
}


@pytest.mark.needs("soffice")
def test_libreoffice_opens_an_export(service: Service, tmp_path: Path) -> None:
    """With the import options of docs/export.md each cell is what the export has, and numbers are numbers."""
    quiz = 9007199254740991
    user = f"{uuid4().int % 10**17:017}"
    session_id = service.start(quiz_id=quiz, user_id=user)["id"]
    service.save_many(session_id, ANSWERS)
    query = {"user_id": user}
    (tmp_path / "answers.csv").write_bytes(service.client.get(PATH, params=query).content)
    header, row = _opened(tmp_path)
    expected_header, expected = table(service, **query)
    assert [header[column] for column in range(len(header))] == expected_header
    shown = {name: row.get(column) for column, name in header.items()}
    numbers = {
        name: float(text)
        for name, text in zip(expected_header, expected, strict=True)
        if name in {"version", "answered", "late_saves", "answers.number", "answers.float"}
    }
    texts = {name: text or None for name, text in zip(expected_header, expected, strict=True)}
    assert shown == texts | numbers
    assert (shown["user_id"], shown["quiz_id"], shown[f"answers.{LONG_ID}"]) == (user, str(quiz), LONG_ID)
    assert (shown["answers.sum"], shown["answers.number"]) == ("'=1+1", -5.0)


def _opened(folder: Path) -> list[dict[Any, Any]]:
    """Convert answers.csv with the command of docs/export.md; return the values of each row by column."""
    page = (ROOT / "docs" / "export.md").read_text()
    (command,) = re.findall(r"^soffice .*$", page, re.MULTILINE)
    profile = f"-env:UserInstallation=file://{folder}/profile"
    subprocess.run(
        ["sh", "-c", command.replace("soffice ", f"soffice {profile} ")],
        cwd=folder,
        check=True,
        timeout=2 * LIMIT,
        capture_output=True,
    )
    with zipfile.ZipFile(folder / "answers.xlsx") as book:
        strings, sheet = (
            ET.fromstring(book.read(f"xl/{name}.xml"))  # noqa: S314 - LibreOffice has written it
            for name in ("sharedStrings", "worksheets/sheet1")
        )
    texts = ["".join(part.text or "" for part in item.iter(f"{CELL}t")) for item in strings.iter(f"{CELL}si")]
    assert list(sheet.iter(f"{CELL}f")) == []
    return [
        {_column(cell): _value(cell, texts) for cell in row if cell.find(f"{CELL}v") is not None}
        for row in sheet.iter(f"{CELL}row")
    ]


def _column(cell: ET.Element) -> int:
    """Return the number of the cell's column, from 0."""
    number = 0
    for letter in str(cell.get("r")).rstrip("0123456789"):
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def _value(cell: ET.Element, texts: list[str]) -> str | float:
    value = cell.findtext(f"{CELL}v") or ""
    return texts[int(value)] if cell.get("t") == "s" else float(value)
