"""The proofs bite: with any one guard taken out of the service, a test fails."""

import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from tests.service import copy_house


@frozen
class Guard:
    """A guard of the service, the change that takes it out, and the tests that then have to fail."""

    name: str
    file: str
    old: str
    new: str
    tests: str


SAVE = "tests/operations/test_update_progress.py"
GET = "tests/operations/test_get_session.py"
EVERY = "tests/operations/test_every_operation.py -k 414"
BODY = "tests/operations/test_every_operation.py -k 408"
OWNERSHIP = "tests/test_ownership.py"
KEYS = "tests/test_keys.py"
TOKENS = "tests/test_tokens.py"
HEALTH = "tests/test_health.py"
LIMITS = "tests/test_limits.py"
READINGS = "tests/faults/test_edge.py -k two_readings"

START = "tests/operations/test_start_session.py"
CACHE = "tests/test_cache.py"
HELD_UP = "tests/test_cache.py -k held_up"
MODEL = "tests/test_model.py"
TOGETHER = "tests/test_together.py"
REQUESTS = "tests/test_requests.py"
DOCS = "tests/test_docs.py -k served"

GUARDS = [
    Guard(
        "key test",
        "sql/write_sessions.sql",
        "then 'repeated'\n      when exists",
        "and false then 'ok'\n      when exists",
        MODEL,
    ),
    Guard("one write for a key", "sql/write_sessions.sql", "split_part(recent, ' ', 1) = ", "'' = ", MODEL),
    Guard("sixteen keys", "sql/write_sessions.sql", "[:15]", "[:3]", SAVE),
    Guard(
        "key before version",
        "sql/write_sessions.sql",
        "when (a).key || ' '",
        "when (s).version <> (a).version then 'conflict' when (a).key || ' '",
        SAVE,
    ),
    Guard(
        "operation in the digest",
        "session_service/wire.py",
        "_converter.unstructure(write), option",
        "{**_converter.unstructure(write), 'operation': ''}, option",
        SAVE,
    ),
    Guard("start's key", "sql/start_sessions.sql", "and s.start_key = ", "and '' = ", START),
    Guard("one start for a key", "sql/start_sessions.sql", "s.start_digest = a.digest", "true", START),
    Guard(
        "lock of racing resumes",
        "sql/lock_starts.sql",
        "quiz_id));",
        "quiz_id + (random() * 1e9)::integer));",
        TOGETHER,
    ),
    Guard("end of what is resumed", "sql/start_sessions.sql", "    and s.expires_at > now\n", "", START),
    Guard(
        "skipped locks of the sweeper", "sql/expire_sessions.sql", " skip locked", "", "tests/test_sweeper.py"
    ),
    Guard(
        "sweeper's own test of the end",
        "sql/expire_sessions.sql",
        "    and expires_at <= clock_timestamp()\n",
        "",
        "tests/test_sweeper.py",
    ),
    Guard("versions seen", "session_service/cache.py", "held[0].version >= seen and ", "", GET),
    Guard(
        "time that an entry is good",
        "session_service/cache.py",
        " and sample.latest(monotonic()) < held[1]",
        "",
        CACHE,
    ),
    Guard("time that a version is guarded", "session_service/cache.py", "'px', ARGV[1])", "'px', 1)", CACHE),
    Guard(
        "one fault told of a large body",
        "session_service/contract.py",
        "if size <= THOROUGH:",
        "if True:",
        "tests/operations/test_save_answers.py",
    ),
    Guard(
        "words of the contract in a fault's place",
        "session_service/contract.py",
        "step in self.names or ",
        "True or ",
        "tests/operations/test_save_answers.py",
    ),
    Guard(
        "disbelief", "session_service/cache.py", "self._trusted = False\n", "self._trusted = True\n", CACHE
    ),
    Guard("repair before belief", "session_service/cache.py", "while self._owed:", "while False:", CACHE),
    Guard(
        "debts beyond memory",
        "session_service/cache.py",
        "self._trusted = monotonic() >= self._blind_until",
        "self._trusted = True",
        CACHE,
    ),
    Guard(
        "old entry goes when Redis is full",
        "session_service/cache.py",
        "await self._call(lambda: self._redis.delete(*keys))",
        "pass",
        CACHE,
    ),
    Guard("version test", "sql/write_sessions.sql", "(s).version <> (a).version", "0 = (a).version", SAVE),
    Guard("status test", "sql/write_sessions.sql", "(s).status = 'completed' then", "false then", SAVE),
    Guard("expiry test", "sql/write_sessions.sql", " or (s).expires_at <= judged_at", "", SAVE),
    Guard("row lock", "sql/write_sessions.sql", "    for update skip locked\n", "", TOGETHER),
    Guard("nobody waits for a lock in a batch", "sql/write_sessions.sql", " skip locked", "", TOGETHER),
    Guard(
        "what is held goes again alone",
        "session_service/store.py",
        'if told is None or told.verdict != "busy":',
        "if True:",
        TOGETHER,
    ),
    Guard(
        "one call of a key at a time",
        "session_service/together.py",
        "if not self._free or key in self._behind:",
        "key = object()\n        if not self._free or key in self._behind:",
        TOGETHER,
    ),
    Guard(
        "a batch that is refused goes one by one",
        "session_service/store.py",
        ", apart=(RejectedError,)",
        "",
        TOGETHER,
    ),
    Guard(
        "a batch that may have landed is not repeated",
        "session_service/store.py",
        "apart=(RejectedError,)",
        "apart=(RejectedError, ServiceUnavailableError)",
        TOGETHER,
    ),
    Guard("a lane's room", "session_service/together.py", ">= self._room", ">= 10 * self._room", TOGETHER),
    Guard(
        "resumes that lost the race for the lock",
        "sql/lock_starts.sql",
        "where pg_try_advisory_xact_lock(hashtextextended(user_id, quiz_id))",
        "",
        TOGETHER,
    ),
    Guard(
        "bound on all bodies",
        "session_service/edge.py",
        "self._bodies + size > BODIES_LIMIT",
        "self._bodies + size > 100 * BODIES_LIMIT",
        TOGETHER,
    ),
    Guard("order behind a lock", "sql/write_sessions.sql", "  where not a.queues\n", "", TOGETHER),
    Guard("lock before clock", "sql/write_sessions.sql", "clock_timestamp()", "now()", SAVE),
    Guard("bound on the number of answers", "sql/write_sessions.sql", "> 10000", "> 100000", SAVE),
    Guard("bound on the size of the answers", "sql/write_sessions.sql", "> 1048576", "> 10485760", SAVE),
    Guard("expiry test of a read", "sql/get_sessions.sql", " or (s).expires_at <= judged_at", "", GET),
    Guard(
        "expiry cap of the cache",
        "session_service/store.py",
        "life = min(life, (judged.expires_at - judged.judged_at).total_seconds())",
        "pass",
        f"{GET} {CACHE}",
    ),
    Guard(
        "cache's version guard",
        "session_service/cache.py",
        "if not held or held <= tonumber(version) then",
        "if true then",
        CACHE,
    ),
    Guard(
        "cache's bound by CACHE_SECONDS",
        "session_service/store.py",
        "life = float(self._settings.cache_seconds)",
        "life = 3600.0",
        CACHE,
    ),
    Guard(
        "raising the cache before a refusal",
        "session_service/store.py",
        'if judged.status != "expired":',
        'if judged.verdict == "ok":',
        CACHE,
    ),
    Guard(
        "own id in an entry",
        "session_service/cache.py",
        " or (head[3] and head[3].decode() != str(session_id))",
        "",
        CACHE,
    ),
    Guard(
        "Redis's time limit",
        "session_service/cache.py",
        "_BEATS = 5",
        "_BEATS = 800",
        CACHE,
    ),
    Guard("own lateness", "session_service/cache.py", "Limit():", "asyncio.timeout(0.05):", HELD_UP),
    Guard("body limit", "session_service/edge.py", "BODY_LIMIT = 256 ", "BODY_LIMIT = 2560 ", GET),
    Guard(
        "body read whole",
        "session_service/edge.py",
        "                    raise ClientDisconnect\n",
        "                    break\n",
        "tests/test_edge.py",
    ),
    Guard("request id's form", "session_service/edge.py", "{1,128}", "{1,129}", "tests/test_edge.py"),
    Guard(
        "log line's form",
        "session_service/edge.py",
        "else quote(raw, safe=",
        "else str(raw, 'latin-1') or quote(raw, safe=",
        "tests/test_edge.py",
    ),
    Guard(
        "owner of what is cached",
        "session_service/store.py",
        "if held and (owner is None or wire.is_of(held, owner)):",
        "if held:",
        OWNERSHIP,
    ),
    Guard(
        "owner of what is read",
        "sql/get_sessions.sql",
        " and (a.owner is null or s.user_id = a.owner)",
        "",
        OWNERSHIP,
    ),
    Guard(
        "owner of what is written",
        "sql/write_sessions.sql",
        "      and (a.owner is null or s.user_id = a.owner)\n    for",
        "    for",
        OWNERSHIP,
    ),
    Guard(
        "owner of what is busy",
        "sql/write_sessions.sql",
        " and (a.owner is null or s.user_id = a.owner)\n  where not",
        "\n  where not",
        OWNERSHIP,
    ),
    Guard(
        "owner of what is listed",
        "session_service/sessions.py",
        "caller.owner or wanted.user_id",
        "wanted.user_id",
        OWNERSHIP,
    ),
    Guard(
        "start for another user",
        "session_service/sessions.py",
        "    _check_user(caller, wanted.user_id)\n    told",
        "    told",
        OWNERSHIP,
    ),
    Guard("pinned algorithms", "session_service/jwks.py", "name in wanted and ", "", KEYS),
    Guard(
        "one look for unknown keys",
        "session_service/keys.py",
        "under_way or monotonic() >= self._may_ask_at",
        "True",
        KEYS,
    ),
    Guard(
        "claims of a token",
        "session_service/tokens.py",
        'options={"require": _REQUIRED}',
        "options={}",
        "tests/test_tokens.py",
    ),
    Guard(
        "end of what is remembered",
        "session_service/tokens.py",
        " and time() < proof.until",
        "",
        "tests/test_tokens.py",
    ),
    Guard(
        "loopback without authentication",
        "session_service/settings.py",
        "if not allowed and not _is_loopback(host):",
        "if False:",
        "tests/test_start.py -k everybody",
    ),
    Guard("time for a body", "session_service/edge.py", "BODY_SECONDS = 10.0", "BODY_SECONDS = 30.0", BODY),
    Guard("length of a path", "session_service/edge.py", "TARGET_LIMIT = 4 ", "TARGET_LIMIT = 8 ", EVERY),
    Guard(
        "room for saves",
        "session_service/edge.py",
        "crowded = size > SMALL_BODY and",
        "crowded =",
        "tests/test_edge.py -k crowd",
    ),
    Guard(
        "query out of the log",
        "session_service/edge.py",
        'raw: bytes = scope["raw_path"]',
        'raw: bytes = scope["raw_path"] + scope["query_string"]',
        "tests/test_edge.py -k one_line",
    ),
    Guard("declared status", "session_service/errors.py", "409, ", "412, ", SAVE),
    Guard(
        "declared code",
        "session_service/errors.py",
        '"SESSION_CONFLICT"',
        '"CONFLICT"',
        "tests/test_errors.py",
    ),
    Guard("declared header", "session_service/endpoint.py", 'b"etag"', 'b"x-etag"', GET),
    Guard(
        "declared body",
        "session_service/wire.py",
        "unstructure(session, Session)",
        "unstructure(session)",
        GET,
    ),
    Guard(
        "refusal of data that does not fit",
        "session_service/endpoint.py",
        "faults = self._operation.body.faults(value, len(content))",
        "faults: list[Any] = []",
        REQUESTS,
    ),
    Guard(
        "names that are there once",
        "session_service/wire.py",
        '.count(b":") != members:',
        '.count(b":") < 0:',
        REQUESTS,
    ),
    Guard("query's encoding", "session_service/endpoint.py", '"strict"', '"replace"', REQUESTS),
    Guard("one content type", "session_service/endpoint.py", "len(types) != 1", "not types", REQUESTS),
    Guard("policy of the page", "session_service/docs.py", "script-src 'self'", "script-src *", DOCS),
    Guard(
        "error without a class",
        "openapi.yaml",
        "    RouteNotFoundError:\n      desc",
        "    LostError:\n      desc",
        "tests/test_errors.py",
    ),
    Guard(
        "migrations' lock",
        "sql/schema/0000_schema_migrations.sql",
        "select pg_advisory",
        "-- select pg_advisory",
        "tests/test_migrations.py",
    ),
    Guard(
        "migrations' checksum",
        "session_service/migrations.py",
        "elif checksums",
        "elif False and checksums",
        "tests/test_migrations.py",
    ),
    Guard(
        "column's type",
        "sql/schema/0001_quiz_sessions.sql",
        "quiz_id           integer",
        "quiz_id           bigint",
        "tests/test_sql.py",
    ),
    Guard(
        "column's nullability",
        "sql/schema/0000_schema_migrations.sql",
        "checksum    text        not null",
        "checksum    text",
        "tests/test_sql.py",
    ),
    Guard(
        "import floors",
        "session_service/wire.py",
        "import orjson\n",
        "import orjson\nfrom session_service import handlers\n",
        "tests/test_house.py",
    ),
    Guard(
        "libraries' homes",
        "session_service/handlers.py",
        "from uuid",
        "import redis\nfrom uuid",
        "tests/test_house.py",
    ),
    Guard(
        "owner of what is waited for",
        "sql/lock_session.sql",
        "or user_id = %(owner)s::text",
        "or %(owner)s::text is not null",
        OWNERSHIP,
    ),
    Guard(
        "a stranger's own order",
        "session_service/store.py",
        "self._writes(record, (session_id, owner))",
        "self._writes(record, session_id)",
        OWNERSHIP,
    ),
    Guard(
        "one write of a row in a batch",
        "session_service/store.py",
        ' or write["position"] in again',
        "",
        OWNERSHIP,
    ),
    Guard("public keys only", "session_service/jwks.py", 'or "d" in entry ', "", KEYS),
    Guard(
        "keys that are long enough",
        "session_service/jwks.py",
        " if key.Algorithm.check_key_length(key.key) is None else None",
        "",
        KEYS,
    ),
    Guard(
        "tokens forgotten with their keys",
        "session_service/tokens.py",
        "changed=self._proofs.clear",
        "changed=lambda: None",
        KEYS,
    ),
    Guard(
        "last good keys",
        "session_service/keys.py",
        "            self._renewed = False\n            return",
        '            self._renewed = False\n            self._set = KeySet(b"", {})\n            return',
        KEYS,
    ),
    Guard(
        "no redirect to other keys",
        "session_service/keys.py",
        "(ProxyHandler(), secure,",
        '(__import__("urllib.request").request.HTTPRedirectHandler(), ProxyHandler(), secure,',
        KEYS,
    ),
    Guard(
        "bound on a key set", "session_service/keys.py", "if len(content) > SIZE_LIMIT:", "if False:", KEYS
    ),
    Guard("one token", "session_service/tokens.py", "if len(given) > 1:", "if len(given) > 9:", TOKENS),
    Guard(
        "no key of the token's own",
        "session_service/tokens.py",
        '{"jku", "jwk", "x5u", "crit"}',
        '{"crit"}',
        TOKENS,
    ),
    Guard("bound on a token", "session_service/tokens.py", " or len(match[1]) > SIZE_LIMIT", "", TOKENS),
    Guard(
        "scope of a service",
        "session_service/tokens.py",
        "serves = service_scope in _scopes(claims)",
        "serves = bool(_scopes(claims))",
        "tests/test_tokens.py tests/test_ownership.py",
    ),
    Guard(
        "look before use",
        "session_service/pool.py",
        "if connection.is_quiet():",
        "if True:",
        "tests/faults/test_postgres.py -k nobody_asks",
    ),
    Guard(
        "a read is asked again",
        "session_service/sql.py",
        "if file.writes or not connection.broken:",
        "if True:",
        "tests/faults/test_postgres.py -k shreds",
    ),
    Guard(
        "a write is not repeated",
        "session_service/sql.py",
        "if file.writes or not connection.broken:",
        "if not connection.broken:",
        "tests/test_together.py -k unknown_outcome",
    ),
    Guard(
        "word on an open way",
        "session_service/exposure.py",
        "if mode in _VERIFIED or",
        "if mode or",
        "tests/test_tls.py",
    ),
    Guard(
        "bucket of another clock",
        "session_service/limits.py",
        "  if not (full > now and full <= now + size) then full = now end\n",
        "",
        LIMITS,
    ),
    Guard(
        "callers' names out of Redis",
        "session_service/limits.py",
        "{sha256(caller.name.encode()).hexdigest()[:32]}",
        "{caller.name}",
        "tests/test_limits.py tests/test_secrets.py",
    ),
    Guard(
        "limit by process",
        "session_service/limits.py",
        "return [self._own.take(key) for key in keys]",
        "return [0 for key in keys]",
        LIMITS,
    ),
    Guard(
        "pages on the list",
        "session_service/cors.py",
        " and given[0] in self._origins",
        "",
        "tests/test_cors.py",
    ),
    Guard("end that is announced", "session_service/health.py", "if self._draining:", "if False:", HEALTH),
    Guard(
        "one question to a store",
        "session_service/health.py",
        "self._answer and self._answer.done() and ",
        "",
        HEALTH,
    ),
    Guard(
        "a word of the requests on Redis",
        "session_service/health.py",
        "self._cache.believed and ",
        "",
        HEALTH,
    ),
    Guard(
        "bare line feeds",
        "session_service/heads.py",
        "if wrong.search(",
        "if None and wrong.search(",
        READINGS,
    ),
    Guard("one length", "session_service/heads.py", "return len(framing) < 2", "return True", READINGS),
    Guard(
        "number of header lines",
        "session_service/heads.py",
        "len(lines) > LINES_LIMIT + 1",
        "len(lines) > 9 * LINES_LIMIT",
        "tests/operations/test_every_operation.py -k 431",
    ),
    Guard(
        "nothing behind a CONNECT",
        "session_service/hypercorn_client.py",
        'if request.method == b"CONNECT":',
        "if False:",
        "tests/faults/test_edge.py -k nothing_follows",
    ),
    Guard(
        "bound on the work",
        "session_service/edge.py",
        "WORK_LIMIT = 1000",
        "WORK_LIMIT = 10_000",
        "tests/test_overload.py",
    ),
    Guard(
        "later returns of a crowd",
        "session_service/crowd.py",
        "1 + self._waiting // _RETURNS",
        "1",
        "tests/test_overload.py",
    ),
    Guard(
        "time for a reply",
        "session_service/edge.py",
        "REPLY_SECONDS = 5.0",
        "REPLY_SECONDS = 50.0",
        "tests/faults/test_postgres.py -k frozen_for_long",
    ),
    Guard(
        "room for the log",
        "session_service/log.py",
        "if self._held + len(data) > _ROOM:",
        "if False:",
        "tests/test_log.py",
    ),
    Guard(
        "rights of the role",
        "sql/admit_role.sql",
        "grant select, insert, update on quiz",
        "grant all on quiz",
        "tests/test_roles.py",
    ),
    Guard(
        "secret of a setting",
        "session_service/sql.py",
        'SettingError("DATABASE_URL has to be a URL that libpq can read")',
        'SettingError(f"DATABASE_URL has to be a URL that libpq can read: {url}")',
        "tests/test_secrets.py tests/test_start.py",
    ),
    Guard(
        "lists' places",
        "session_service/store.py",
        "self._lists = Lane(self._list, places=max(1, left * 2 // 5)",
        "self._lists = Lane(self._list, places=64",
        "tests/test_together.py -k lists",
    ),
    Guard(
        "word of a client that is gone",
        "session_service/hypercorn_work.py",
        "and not self._is_over:",
        ":",
        "tests/test_servers.py -k finds_room",
    ),
    Guard(
        "request on its way at the end",
        "session_service/hypercorn_server.py",
        "await self.work.end(DRAIN_SECONDS)",
        "pass",
        "tests/test_servers.py -k on_its_way",
    ),
    Guard(
        "servers end with bin/serve",
        "session_service/keeper.py",
        "sys.stdin.buffer.read()",
        "time.sleep(60)",
        "tests/test_setup.py -k end_with",
    ),
    Guard(
        "smoke's verdict",
        "session_service/smoke.py",
        "sys.exit(1 if failed else 0)",
        "sys.exit(0)",
        "tests/test_setup.py -k smoke",
    ),
]


Outcome = tuple[int, str]
Outcomes = dict[str, Future[Outcome]]


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    """What the tests say without each of the guards asked for, on all processors at once."""
    given = [_parameters(item) for item in request.session.items]
    damaged = [parameters["guard"] for parameters in given if "guard" in parameters]
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        yield {
            guard.name: workers.submit(_test_without, guard, tmp_path_factory.mktemp("house"))
            for guard in damaged
        }


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_guard_that_is_taken_out_is_missed(guard: Guard, outcomes: Outcomes) -> None:
    """A service without the guard does not pass the tests that are there for it."""
    status, told = outcomes[guard.name].result()
    assert status == 1, told
    assert " failed" in told.splitlines()[-1]


def _parameters(item: pytest.Item) -> dict[str, Any]:
    callspec: Any = getattr(item, "callspec", None)
    return callspec.params if callspec else {}


def _test_without(guard: Guard, folder: Path) -> Outcome:
    """Take the guard out of a copy of the house and return its tests' exit status and output."""
    file = copy_house(folder) / guard.file
    text = file.read_text()
    assert guard.old in text
    file.write_text(text.replace(guard.old, guard.new))
    command = [".venv/bin/python", "-m", "pytest", "-x", "-p", "no:cacheprovider", *guard.tests.split()]
    # A process group of their own, so that nothing of them is left if they hang.
    with subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as run:
        try:
            told, _ = run.communicate(timeout=240)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            raise
    return run.returncode, told
