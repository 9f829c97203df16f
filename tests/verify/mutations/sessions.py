"""Mutations of session_service/sessions/."""

from tests.verify.mutations.mutation import Mutation, force, remove, replace

MUTATIONS = [
    Mutation(
        "operation in the digest of a write",
        "session_service/sessions/codec.py",
        replace(
            "Digester.__call__",
            "_converter.unstructure($WRITE)",
            "{**_converter.unstructure($WRITE), 'operation': ''}",
        ),
        "tests/operations/test_update_progress_idempotency.py::test_422_for_another_write_with_the_same_idempotency_key",
    ),
    Mutation(
        "secret key of the digests",
        "session_service/sessions/codec.py",
        replace("Digester._digest", "hmac.digest($KEY, $TEXT, $HASH)", "hmac.digest(b'', $TEXT, $HASH)"),
        "tests/sessions/test_digests.py::test_a_cleared_answer_cannot_be_guessed_from_its_digest",
    ),
    Mutation(
        "declared body of a session",
        "session_service/sessions/codec.py",
        replace(
            "encode_session", "_converter.unstructure($SESSION, Session)", "_converter.unstructure($SESSION)"
        ),
        "tests/operations/test_get_session.py::test_200_with_all_saved_answers",
    ),
    Mutation(
        "rejection of repeated names in JSON",
        "session_service/sessions/codec.py",
        force("parse", "$COLONS != $MEMBERS and $REST", value=False),
        "tests/api/test_requests.py::test_invalid_json_is_rejected",
    ),
    Mutation(
        "declared status of an error",
        "session_service/sessions/errors.py",
        replace("SessionConflictError", "409", "412"),
        "tests/operations/test_update_progress_preconditions.py::test_409_on_a_stale_version",
    ),
    Mutation(
        "declared code of an error",
        "session_service/sessions/errors.py",
        replace("SessionConflictError", '"SESSION_CONFLICT"', '"CONFLICT"'),
        "tests/api/test_errors.py::test_each_class_has_the_code_and_status_of_its_schema",
    ),
    Mutation(
        "owner check of a start",
        "session_service/sessions/service.py",
        remove("SessionService.start", "_check_owner($OWNER, $USER)"),
        "tests/api/auth/test_ownership.py::test_a_user_starts_only_its_own_sessions",
    ),
    Mutation(
        "fields chosen by services only",
        "session_service/sessions/service.py",
        force("SessionService._check_learner_start", "getattr($START, $NAME) is not None", value=False),
        "tests/api/auth/test_reserved_fields.py::test_a_learner_may_not_choose",
    ),
    Mutation(
        "place of the user in the id of a session",
        "session_service/sessions/ids.py",
        replace("new_session_id", "UUID(bytes=$BYTES)", "uuid4()"),
        "tests/sessions/test_ids.py::test_a_session_has_the_place_of_its_user",
    ),
    Mutation(
        "integer id as an integer",
        "session_service/sessions/codec.py",
        force("shown_id", "_INTEGER.fullmatch($TEXT) and $FITS", value=False),
        "tests/operations/test_external_ids.py::test_an_integer_comes_back_as_an_integer",
    ),
    Mutation(
        "text beyond the integers as a text",
        "session_service/sessions/codec.py",
        force("shown_id", "int($TEXT) <= MAX_EXTERNAL_INTEGER", value=True),
        "tests/operations/test_external_ids.py::test_a_text_comes_back_as_it_is",
    ),
    Mutation(
        "forms of an integer as one id",
        "session_service/sessions/codec.py",
        replace("external_id", "str(int($VALUE))", "str($VALUE)"),
        "tests/operations/test_external_ids.py::test_all_forms_of_an_integer_are_one_question",
    ),
]
