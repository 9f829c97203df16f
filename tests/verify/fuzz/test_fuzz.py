"""schemathesis against the running server: what nobody thought of."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Urls, fresh, migrate
from tests.support import fuzzing, issuer
from tests.support.service import Service, running


def test_a_repeatable_run_finds_nothing(migrated: Urls, tmp_path: Path) -> None:
    """Examples, coverage and fuzzing find no fault, reach every operation, and ask the same each time."""
    first, second = (_run_afresh(migrated, tmp_path) for _ in range(2))
    for run in (first, second):
        assert not run.failed, run.told
    assert _asked(first) == _asked(second)
    assert {name for name, _ in fuzzing.seen(first.replies)} >= {name for name, _ in fuzzing.reachable()} | {
        "getHealth"
    }


def test_links_reach_every_success(guarded: Service, record_property: Callable[[str, str], None]) -> None:
    """From a start the contract's links lead to every success status, and no chain of them finds a fault."""
    seen = fuzzing.Seen()
    for seed in range(20261123, 20261143):
        run = fuzzing.ask(guarded.url, "stateful", "--max-examples", "150", "--seed", str(seed))
        assert not run.failed, run.told
        seen += fuzzing.seen(run.replies)
        if fuzzing.reachable() <= seen.keys():
            break
    record_property("what links reached", fuzzing.table(seen))
    assert fuzzing.reachable() - seen.keys() == set()


def test_a_long_run_goes_round_by_round(guarded: Service, capsys: pytest.CaptureFixture[str]) -> None:
    """What bin/fuzz does for minutes it does for seconds, too, and shows what it reached."""
    fuzzing.rounds(guarded.url, 4, seed=7)
    told = capsys.readouterr().out
    assert re.search(r"seed 7: +[1-9]", told), told
    assert "In all:" in told


def test_a_run_on_uvicorn_finds_nothing(migrated: Urls, tmp_path: Path) -> None:
    """The second server keeps the contract, too."""
    run = _run_afresh(migrated, tmp_path, SERVER="uvicorn")
    assert not run.failed, run.told


def _run_afresh(migrated: Urls, folder: Path, **settings: str) -> fuzzing.Run:
    """Ask a service that nobody has asked before: what it has, it is asked for."""
    options = ["--generation-deterministic", "--max-examples", "30"]
    with fresh(migrated) as urls:
        migrate(urls)
        with running(urls, **issuer.guarded(folder / "keys.json"), **settings) as service:
            return fuzzing.ask(service.url, fuzzing.REST, *options, repeatable=True)


def _asked(run: fuzzing.Run) -> list[str]:
    """Return the requests of a run, but for ids and the address of the service and schemathesis's numbers."""
    asked = []
    for request in (reply.request for reply in run.replies):
        headers = {name: value for name, value in request.headers.items() if not name.startswith("x-schema")}
        whole = f"{request.method} {request.url} {headers} {request.content!r}"
        asked.append(re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|127\.0\.0\.1:\d+", "THAT", whole))
    return asked
