"""Mutations of the settings, of the stores' URLs and of the commands."""

from tests.verify.mutations.mutation import Mutation, force, replace

MUTATIONS = [
    Mutation(
        "loopback only without authentication",
        "session_service/settings.py",
        force("_tokens", "not allowed and not is_loopback($HOST)", value=False),
        "tests/setup/test_start.py::test_unauthenticated_service_is_loopback_only",
    ),
    Mutation(
        "no lesser scope as that of a service",
        "session_service/settings.py",
        replace("_scope", "value in LESSER_SCOPES", "False"),
        "tests/setup/test_settings.py::test_other_invalid_settings",
    ),
    Mutation(
        "warning of a connection without verification",
        "session_service/store_urls.py",
        replace("_insecure_postgresql", "$MODE in _VERIFIED", "$MODE"),
        "tests/storage/test_tls.py::test_insecure_transports_are_reported",
    ),
    Mutation(
        "no URL of a store in an error message",
        "session_service/store_urls.py",
        replace("_why_unreadable", "_ENCODE", "url"),
        "tests/server/test_secrets.py::test_redaction_of_secrets_and_personal_data",
    ),
    Mutation(
        "one source of a secret",
        "session_service/environment.py",
        force("read_secret", "value and path", value=False),
        "tests/setup/test_secret_files.py::test_a_file_that_cannot_be_used",
    ),
    Mutation(
        "workers run the package of their supervisor",
        "session_service/server/supervisor.py",
        replace("Supervisor._try_to_launch", '"-P"', '"-B"'),
        "tests/verify/deploy/test_wheel.py::test_installed_workers_ignore_the_current_folder",
    ),
    Mutation(
        "private servers end with bin/serve",
        "dev/reaper.py",
        replace("main", "sys.stdin.buffer.read()", "time.sleep(60)"),
        "tests/verify/workers/test_serve.py::test_servers_of_a_killed_serve_stop",
    ),
    Mutation(
        "exit status of bin/smoke",
        "bin/smoke",
        replace("main", "1 if $FAILED else 0", "0"),
        "tests/setup/test_commands.py::test_smoke_sends_its_token",
    ),
]
