"""Tests of the contract with schemathesis: fuzzing of a running service."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Urls, empty_database, migrate
from tests.support import fuzzing, issuer
from tests.support.service import Service, running

pytestmark = pytest.mark.usefixtures("limits_removed")


def test_fuzzing_is_repeatable_and_finds_nothing(migrated: Urls, tmp_path: Path) -> None:
    """Examples, boundary values and fuzzing find no fault, reach every operation, and are repeatable."""
    first, second = (_fuzz(migrated, tmp_path) for _ in range(2))
    for run in (first, second):
        assert not run.failed, run.output
    assert _normalized_requests(first) == _normalized_requests(second)
    assert {name for name, _ in fuzzing.count_responses(first.responses)} >= {
        name for name, _ in fuzzing.reachable()
    } | {"getHealth"}


def test_links_reach_every_success(
    service_with_tokens: Service, record_property: Callable[[str, str], None]
) -> None:
    """The contract's links reach every success status from a start, without a fault."""
    seen = fuzzing.Counts()
    for seed in range(20261123, 20261143):
        run = fuzzing.run_schemathesis(
            service_with_tokens.url, "stateful", "--max-examples", "150", "--seed", str(seed)
        )
        assert not run.failed, run.output
        seen += fuzzing.count_responses(run.responses)
        if fuzzing.reachable() <= seen.keys():
            break
    record_property("what links reached", fuzzing.table(seen))
    assert fuzzing.reachable() - seen.keys() == set()


def test_fuzzing_in_rounds(service_with_tokens: Service, capsys: pytest.CaptureFixture[str]) -> None:
    """bin/fuzz runs rounds with a seed each, and prints a summary."""
    fuzzing.rounds(service_with_tokens.url, 4, seed=7)
    output = capsys.readouterr().out
    assert re.search(r"seed 7: +[1-9]", output), output
    assert "In all:" in output


def test_fuzzing_on_uvicorn_finds_nothing(migrated: Urls, tmp_path: Path) -> None:
    """Fuzzing on uvicorn finds no fault."""
    run = _fuzz(migrated, tmp_path, SERVER="uvicorn")
    assert not run.failed, run.output


def _fuzz(migrated: Urls, folder: Path, **settings: str) -> fuzzing.Run:
    """Fuzz a service with an empty database."""
    options = ["--generation-deterministic", "--max-examples", "30"]
    with empty_database(migrated) as urls:
        migrate(urls)
        with running(urls, **issuer.token_settings(folder / "keys.json"), **settings) as service:
            return fuzzing.run_schemathesis(service.url, fuzzing.REST, *options, repeatable=True)


def _normalized_requests(run: fuzzing.Run) -> list[str]:
    """Return the requests of a run, without ids, addresses and schemathesis's own headers."""
    requests = []
    for request in (response.request for response in run.responses):
        headers = {name: value for name, value in request.headers.items() if not name.startswith("x-schema")}
        whole = f"{request.method} {request.url} {headers} {request.content!r}"
        requests.append(re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|127\.0\.0\.1:\d+", "THAT", whole))
    return requests
