"""Tests of durability: each statement that a response acknowledges makes its commit durable itself."""

import re
from pathlib import Path

import psycopg

from session_service.storage.sql_files import FOLDER
from tests.conftest import Urls
from tests.support.erasing import new_user
from tests.support.service import copy_repository, running
from tests.support.waiting import eventually

# Tables whose rows are acknowledged: a position that is lost would be given to another event.
TABLES = ("quiz_sessions", "quiz_orders", "session_events", "event_positions")
CHANGE = rf"(insert into|update|delete from) ({'|'.join(TABLES)})\b"
# What it loses is done again: it deletes positions that are old.
REPEATED = {"trim_events"}
NOTE = """
create table seen (changed text, setting text);
create function note() returns trigger language plpgsql security definer as $$
begin
  insert into public.seen values (tg_table_name, current_setting('synchronous_commit'));
  return null;
end
$$
"""


def test_a_commit_is_durable_whatever_the_connection_has(
    migrated_database: tuple[Urls, psycopg.Connection], tmp_path: Path
) -> None:
    """With synchronous_commit off on every connection each acknowledged change is durable."""
    urls, owner = migrated_database
    repository = copy_repository(tmp_path)
    file = repository / "sql" / "configure.sql"
    text, count = re.subn(
        r"(?<=\('synchronous_commit', )case.*?end(?=\))", "'off'", file.read_text(), flags=re.DOTALL
    )
    assert count == 1
    file.write_text(text)
    owner.execute(NOTE)
    for table in TABLES:
        owner.execute(
            f"create trigger note after insert or update or delete on {table} "
            "for each row execute function note()"
        )
    with running(urls, repository) as service:
        user = new_user()
        kept, gone = (service.start(user_id=user, quiz_id="durable") for _ in range(2))
        assert service.save(kept["id"], 1, "x").status_code == 200
        order = {"quiz_id": "durable", "extra_seconds": 60}
        given = service.client.post("/api/sessions/deadline", json=order, headers={"idempotency-key": "k"})
        assert given.status_code == 200, given.text
        assert service.complete(kept["id"]).status_code == 200
        overdue = service.start(time_limit_seconds=1)["id"]
        ended = "select status from quiz_sessions where id = %s"
        eventually(lambda: owner.execute(ended, [overdue]).fetchone() == ("expired",))
        assert service.client.delete(f"/api/sessions/{gone['id']}").status_code == 204
        waiting = "select from unplaced_events"
        eventually(lambda: owner.execute(waiting).fetchone() is None)
    seen = owner.execute("select distinct changed, setting from seen").fetchall()
    assert set(seen) == {(table, "on") for table in TABLES}


def test_each_statement_that_changes_a_session_is_durable() -> None:
    """Each statement that changes such a table has the expression that makes its commit durable."""
    changing = {path.stem for path in FOLDER.glob("*.sql") if re.search(CHANGE, path.read_text())}
    durable = {path.stem for path in FOLDER.glob("*.sql") if "durable as materialized" in path.read_text()}
    assert changing - REPEATED == durable
