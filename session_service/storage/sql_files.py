"""Parses the headers of .sql files and compares them with the SQL text and with Python classes.

A header has one line of each kind, or several of `in`, `out` and `record`:

    -- name: get_sessions :many               the file's name and cardinality: one, many or count
    -- in: ids jsonb                          the parameters
    -- record: id uuid, owner text?           the columns of jsonb_to_recordset, if the parameter is for one
    -- out: id uuid, completed_at timestamptz?    the columns of the result

A type with `?` is nullable. tests/storage/test_statements.py compares the headers with a real server.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import NoneType
from typing import Literal, get_args, get_origin, get_type_hints
from uuid import UUID

import attrs
import orjson

from session_service import files

FOLDER = files.find("sql")

_TYPES: dict[str, object] = {
    "bigint": int,
    "boolean": bool,
    "integer": int,
    "json": orjson.Fragment,
    "jsonb": orjson.Fragment,
    "text": str,
    "text[]": list[str],
    "timestamptz": datetime,
    "uuid": UUID,
    "uuid[]": list[UUID],
}
# The types of the columns of a record, which Python encodes as JSON.
_RECORD_TYPES: dict[str, object] = {
    "bigint": int,
    "boolean": bool,
    "float8": float,
    "integer": int,
    "integer[]": tuple[int, ...],
    "jsonb": Mapping,
    "text": str,
    "text[]": tuple[str, ...],
    "timestamptz": datetime,
    "uuid": UUID,
}
_NAME = re.compile(r"-- name: (\w+) :(one|many|count)( unprepared)?\n")
_COLUMN = re.compile(r"(\w+) (\w+(?:\[\])?)(\??)")
_RECORDSET = re.compile(r"jsonb_to_recordset\(%\((\w+)\)s::jsonb\) as \w+ \(([^()]*)\)")


class SqlError(Exception):
    """An .sql file contradicts itself or the code that uses it; the text starts with the file's name."""


@attrs.frozen
class Column:
    """A parameter, or a column of a record or a result: its PostgreSQL type and whether it may be null."""

    name: str
    type: str
    nullable: bool


@attrs.frozen
class SqlFile:
    """A parsed .sql file: `text` is sent to PostgreSQL, the other fields are the header's."""

    name: str
    cardinality: str
    parameters: tuple[Column, ...]
    record: tuple[Column, ...]
    columns: tuple[Column, ...]
    prepared: bool
    text: str

    @property
    def writes(self) -> bool:
        """Whether the statement may change a row."""
        return re.search(r"\b(insert into|update|delete from)\b", self.text) is not None


def read(path: Path) -> SqlFile:
    """Parse and check one .sql file; raise SqlError if its header and its text differ."""
    text = path.read_text()
    found = _NAME.match(text)
    if found is None or found[1] != path.stem:
        raise SqlError(f"{path.name}: the first line must be '-- name: {path.stem} :one|many|count'")
    parameters, columns = (_columns(path.name, text, word, _TYPES) for word in ("in", "out"))
    record = _columns(path.name, text, "record", _RECORD_TYPES)
    placeholders = set(re.findall(r"%\((\w+)\)s", text))
    if placeholders != {column.name for column in parameters}:
        raise SqlError(f"{path.name}: 'in' and the placeholders {sorted(placeholders)} differ")
    _check_recordset(path.name, text, parameters, record)
    return SqlFile(found[1], found[2], parameters, record, columns, prepared=found[3] is None, text=text)


def check_row(file: SqlFile, row: type) -> None:
    """Raise SqlError unless the fields of the attrs class are the result columns, in order."""
    _check_class(file, "out", [(c.name, _TYPES[c.type], c.nullable) for c in file.columns], row)


def check_record(file: SqlFile, record: type) -> None:
    """Raise SqlError unless the fields of the attrs class are the columns of the record, in order."""
    _check_class(file, "record", [(c.name, _RECORD_TYPES[c.type], c.nullable) for c in file.record], record)


def _columns(name: str, text: str, word: str, types: dict[str, object]) -> tuple[Column, ...]:
    lines = re.findall(rf"^-- {word}:(.*)$", text, re.MULTILINE)
    entries = [entry.strip() for line in lines for entry in line.split(",") if entry.strip()]
    matches = [_COLUMN.fullmatch(entry) for entry in entries]
    for entry, match in zip(entries, matches, strict=True):
        if match is None or match[2] not in types:
            raise SqlError(
                f"{name}: '{entry}' is not 'name type' or 'name type?', with a type out of {sorted(types)}"
            )
    return tuple(Column(match[1], match[2], bool(match[3])) for match in matches if match)


def _check_recordset(
    name: str, text: str, parameters: tuple[Column, ...], record: tuple[Column, ...]
) -> None:
    """Raise SqlError unless the column list of the text's only jsonb_to_recordset is the record's."""
    statement = re.sub(r"--.*", "", text)
    found = _RECORDSET.findall(statement)
    if len(found) != statement.count("jsonb_to_recordset") or len(found) != bool(record):
        raise SqlError(f"{name}: 'record' goes with one jsonb_to_recordset(%(parameter)s::jsonb) as a (...)")
    if not found:
        return
    if [column.name for column in parameters] != [found[0][0]]:
        raise SqlError(f"{name}: the parameter of jsonb_to_recordset must be the only one")
    columns = [" ".join(entry.split()) for entry in found[0][1].split(",")]
    declared = [f"{column.name} {column.type}" for column in record]
    if columns != declared:
        raise SqlError(f"{name}: 'record' has {declared}, jsonb_to_recordset has {columns}")


def _check_class(file: SqlFile, word: str, columns: list[tuple[str, object, bool]], kind: type) -> None:
    hints = get_type_hints(kind)
    fields = [(field.name, *_plain(hints[field.name])) for field in attrs.fields(kind)]
    for field, column in zip(fields, columns, strict=False):
        if field != column:
            raise SqlError(f"{file.name}.sql: '{word}' has {column}, {kind.__name__} has {field}")
    if len(fields) != len(columns):
        raise SqlError(f"{file.name}.sql: '{word}' and {kind.__name__} differ in length")


def _plain(hint: object) -> tuple[object, bool]:
    """Return a field's plain type, and whether it may be None."""
    nullable = NoneType in get_args(hint)
    if nullable:
        hint = next(part for part in get_args(hint) if part is not NoneType)
    if get_origin(hint) is Literal:
        return type(get_args(hint)[0]), nullable
    if get_origin(hint) is Mapping:
        return Mapping, nullable
    return getattr(hint, "__supertype__", hint), nullable
