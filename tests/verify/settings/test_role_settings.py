"""Settings of the role: none of them changes a response."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql as text

from tests.conftest import Urls
from tests.support.database_settings import ROLE, check_operations, close_connections
from tests.support.service import Service, running

Values = dict[str, str]

# Values of settings without a list of values, other than the default.
STRINGS = {
    "DateStyle": ["German, DMY", "SQL, DMY", "Postgres, YMD"],
    "TimeZone": ["Asia/Kolkata", "America/St_Johns", "Pacific/Apia"],
    "application_name": ["other"],
    "client_encoding": ["LATIN1", "SQL_ASCII", "WIN1252"],
    "createrole_self_grant": ["set"],
    "default_tablespace": ["pg_default"],
    "default_text_search_config": ["pg_catalog.simple"],
    "lc_messages": ["POSIX"],
    "lc_monetary": ["POSIX"],
    "lc_numeric": ["POSIX"],
    "lc_time": ["POSIX"],
    "restrict_nonsystem_relation_kind": ["view, foreign-table"],
    "search_path": ["shadow, pg_temp, public, pg_catalog", "nowhere, public", "public, shadow"],
    "temp_tablespaces": ["pg_default"],
    "timezone_abbreviations": ["India", "Australia"],
}

# Milliseconds; a shorter timeout could cancel the first statement of a connection on a busy machine.
TIMEOUTS = ["900", "2147483647"]

EXCLUDED = {
    "default_transaction_read_only": "tested separately",
    "default_table_access_method": "has only one value",
    "max_stack_depth": "maximum depends on the process limits",
    # The service does not start with these; tested separately.
    "ignore_checksum_failure": "rejected",
    "session_replication_role": "rejected",
    "zero_damaged_pages": "rejected",
    # Settings of a single transaction.
    "transaction_deferrable": "not a setting of a role",
    "transaction_isolation": "not a setting of a role",
    "transaction_read_only": "not a setting of a role",
    # Libraries and logging of the server.
    "backtrace_functions": "log",
    "dynamic_library_path": "libraries",
    "extension_control_path": "libraries",
    "local_preload_libraries": "libraries",
    "session_preload_libraries": "libraries",
    "wal_consistency_checking": "log",
}


def test_no_setting_of_the_role_changes_a_response(
    migrated_database: tuple[Urls, psycopg.Connection],
) -> None:
    """All operations work with other values of each setting that PostgreSQL allows for a role."""
    urls, operator = migrated_database
    operator.execute("create schema shadow grant usage on schema shadow to public")
    operator.execute("create table shadow.quiz_sessions (id integer)")
    operator.execute("create function shadow.char_length(text) returns integer language sql as 'select -1'")
    names, choices = _choices(operator)
    assert names - choices.keys() <= EXCLUDED.keys()
    with running(urls) as service:
        for round_number in range(3):
            values = {name: several[round_number % len(several)] for name, several in choices.items()}
            assert _find_culprits(service, operator, values) == []


def _choices(operator: psycopg.Connection) -> tuple[set[str], dict[str, list[str]]]:
    """Return the names of the settings that a role can have, and other values for most of them."""
    rows = operator.execute(
        "select name, vartype, setting, min_val, max_val, enumvals from pg_settings "
        "where context in ('user', 'superuser') "
        "and name not like all (array['log\\_%', 'debug\\_discard%'])"
    ).fetchall()
    choices: dict[str, list[str]] = {}
    for name, kind, value, least, most, several in rows:
        values = [*(several or []), *(["on", "off"] if kind == "bool" else []), least or "", most or ""]
        others = [other for other in values if other not in ("", value)]
        choices[name] = STRINGS.get(name) or (TIMEOUTS if name.endswith("_timeout") else others)
    chosen = {name: several for name, several in choices.items() if several and name not in EXCLUDED}
    return choices.keys() - {name for name, several in choices.items() if not several}, chosen


def _find_culprits(service: Service, operator: psycopg.Connection, values: Values) -> list[str]:
    """Return a small set of settings that changes a response, or nothing."""
    try:
        with _set(operator, values):
            check_operations(service, operator)
    except (AssertionError, KeyError) as error:
        names = sorted(values)
        half = len(names) // 2
        for part in (names[:half], names[half:]) if half else ():
            if found := _find_culprits(service, operator, {name: values[name] for name in part}):
                return found
        return [f"{name} = {values[name]}" for name in names] + [repr(error)]
    return []


@contextmanager
def _set(operator: psycopg.Connection, values: Values) -> Iterator[None]:
    """Set the values for the role, on all its connections."""
    alter = f"alter role {ROLE} in database {operator.info.dbname} set {{}} = {{}}"
    for name, value in values.items():
        items: list[text.Composable] = [text.Literal(value)]
        if name == "search_path":
            items = [text.Identifier(item) for item in value.split(", ")]
        operator.execute(text.SQL(alter).format(text.Identifier(name), text.SQL(", ").join(items)))
    close_connections(operator)
    try:
        yield
    finally:
        operator.execute(f"alter role {ROLE} in database {operator.info.dbname} reset all")
