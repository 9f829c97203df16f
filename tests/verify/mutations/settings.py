"""Mutations of the settings, of the stores' URLs and of the commands."""

from tests.verify.mutations.mutation import Mutation, force, replace

MUTATIONS = [
    Mutation(
        "loopback only without authentication",
        "session_service/settings.py",
        force("_tokens", "not allowed and not _is_loopback($HOST)", value=False),
        "tests/setup/test_start.py::test_no_service_for_everybody_by_accident",
    ),
    Mutation(
        "warning of a connection without verification",
        "session_service/store_urls.py",
        replace("_insecure_postgresql", "$MODE in _VERIFIED", "$MODE"),
        "tests/storage/test_tls.py::test_a_way_that_is_open_to_others_is_told",
    ),
    Mutation(
        "no URL of a store in an error message",
        "session_service/store_urls.py",
        replace("_why_unreadable", "_ENCODE", "url"),
        "tests/server/test_secrets.py::test_no_canary_sings",
    ),
    Mutation(
        "private servers end with bin/serve",
        "dev/reaper.py",
        replace("main", "sys.stdin.buffer.read()", "time.sleep(60)"),
        "tests/setup/test_commands.py::test_servers_end_with_a_serve_that_is_killed",
    ),
    Mutation(
        "exit status of bin/smoke",
        "bin/smoke",
        replace("main", "1 if $FAILED else 0", "0"),
        "tests/setup/test_commands.py::test_smoke_brings_its_token",
    ),
]
