"""CSV (RFC 4180) for spreadsheets: a row for each session, a column for each question.

Numbers of JSON are bare, every other value is in quotes, and a missing one is empty. So a program for
spreadsheets can be told to take values in quotes as text, without which it rounds an id of 17 digits.
"""

from collections.abc import Iterable
from typing import Any

import orjson

from session_service.sessions import codec
from session_service.sessions.models import SessionSummary

MAX_QUESTIONS = 2000  # columns of questions: LibreOffice had 1024 columns at most until 7.4, Excel has 16384

# Fields of SessionSummary by column. Ids are text, also those that JSON shows as numbers.
_FIELDS = (
    "id",
    "user_id",
    "quiz_id",
    "attempt",
    "status",
    "ended_by",
    "started_at",
    "expires_at",
    "last_saved_at",
    "completed_at",
    "created_at",
    "updated_at",
    "paused_at",
    "version",
    "current_question",
    "answered",
    "late_saves",
)
_NUMBERS = frozenset({"attempt", "version", "answered", "late_saves"})
_PREFIX = "answers."  # of a question's column, so that no question has the name of another column
_LAST = ("other", "annotations", "metadata", "client_ids")
# CSV injection: a program for spreadsheets takes a value that begins like this for a formula (OWASP),
# in full width, too.
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
_END = "\r\n"
_BYTE_ORDER_MARK = "\ufeff"  # without it Excel does not take the text for UTF-8
_MISSING = object()


def header_start() -> bytes:
    """Return the first part of the header: the columns that do not depend on the answers."""
    return (_BYTE_ORDER_MARK + ",".join(map(_text, _FIELDS))).encode()


class CsvTable:
    """Encodes sessions as rows with a column for each of the questions; other answers share one column."""

    def __init__(self, questions: Iterable[str]) -> None:
        self._questions = sorted(questions, key=_place)

    def header_end(self) -> bytes:
        """Return the header after `header_start`."""
        columns = [_PREFIX + question for question in self._questions]
        return ("," + ",".join(map(_text, [*columns, *_LAST])) + _END).encode()

    def row(self, session: SessionSummary) -> bytes:
        """Return the row of a session."""
        shown = codec.unstructure_summary(session)
        answers = _parsed(session.answers)
        cells = [_number(shown[name]) if name in _NUMBERS else _id(shown[name]) for name in _FIELDS]
        cells += [_answer(answers.pop(question, _MISSING)) for question in self._questions]
        cells += [_json(answers), _json(_parsed(session.annotations)), _json(_parsed(session.metadata))]
        cells.append(_json(session.client_ids))
        return (",".join(cells) + _END).encode()


def _place(question: str) -> tuple[bool, int, str]:
    """Return the place of a question: those with numbers first, in their order."""
    shown = codec.shown_id(question)
    return (False, shown, "") if isinstance(shown, int) else (True, 0, shown)


def _parsed(fragment: orjson.Fragment | None) -> dict[str, Any]:
    """Return the JSON value of a fragment, an empty object without one."""
    value: dict[str, Any] = orjson.loads(orjson.dumps(fragment)) if fragment else {}
    return value


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _id(value: int | str | None) -> str:
    return "" if value is None else _text(str(value))


def _json(value: dict[str, Any] | list[str]) -> str:
    return _text(orjson.dumps(value).decode()) if value else ""


def _answer(value: object) -> str:
    """Return the cell of an answer: text as it is, a number bare, other JSON as its text."""
    if value is _MISSING:
        return ""
    if isinstance(value, str):
        return _text(value)
    text = orjson.dumps(value).decode()
    # bool is a subclass of int.
    return text if isinstance(value, int | float) and not isinstance(value, bool) else _text(text)


def _text(value: str) -> str:
    """Return a text in quotes, after an apostrophe if it begins like a formula."""
    escaped = value.replace('"', '""')
    return f'"\'{escaped}"' if value.startswith(_FORMULA) else f'"{escaped}"'
