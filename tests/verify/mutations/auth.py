"""Mutations of session_service/api/auth/."""

from tests.verify.mutations.mutation import Mutation, force, remove, replace, set_argument, set_constant

BEARER = "session_service/api/auth/bearer.py"
JWKS = "session_service/api/auth/jwks.py"

MUTATIONS = [
    Mutation(
        "one Authorization header",
        BEARER,
        force("BearerAuthenticator.authenticate", "len($HEADERS) > 1", value=False),
        "tests/api/auth/test_bearer.py::test_one_header_has_to_say_it",
    ),
    Mutation(
        "expiry of a cached token",
        BEARER,
        force("BearerAuthenticator.authenticate", "time() < $TOKEN.expires_at", value=True),
        "tests/api/auth/test_bearer.py::test_a_token_ends_though_it_is_remembered",
    ),
    Mutation(
        "cached tokens dropped with their keys",
        BEARER,
        set_argument("BearerAuthenticator.__init__", "changed", "lambda: None"),
        "tests/api/auth/test_jwks.py::test_a_file_that_is_replaced_counts",
    ),
    Mutation(
        "size limit of a token",
        BEARER,
        force("BearerAuthenticator._verify", "len($TOKEN) > MAX_TOKEN_BYTES", value=False),
        "tests/api/auth/test_bearer.py::test_what_cannot_be_believed_is_refused",
    ),
    Mutation(
        "rejection of a token that names its own key",
        BEARER,
        set_constant("_REJECTED_PARAMETERS", '{"crit"}'),
        "tests/api/auth/test_bearer.py::test_what_cannot_be_believed_is_refused",
    ),
    Mutation(
        "required claims of a token",
        BEARER,
        set_argument("BearerAuthenticator._decode", "options", "{}"),
        "tests/api/auth/test_bearer.py::test_what_cannot_be_believed_is_refused",
    ),
    Mutation(
        "scope of a service",
        BEARER,
        replace("_verified_token", "service_scope in $SCOPES", "bool($SCOPES)"),
        "tests/api/auth/test_bearer.py::test_a_good_token_says_who_asks",
    ),
    Mutation(
        "pinned algorithms",
        JWKS,
        replace(
            "_parse_entry",
            "[$KEY for $NAME in algorithms if $FITS]",
            '[$KEY for $NAME in ("RS384", *algorithms) if $FITS]',
        ),
        "tests/api/auth/test_jwks.py::test_a_key_is_for_what_it_says",
    ),
    Mutation(
        "public keys only",
        JWKS,
        force("_parse_entry", '"d" in entry', value=False),
        "tests/api/auth/test_jwks.py::test_a_set_without_a_fitting_key_is_none",
    ),
    Mutation(
        "curve of a key",
        JWKS,
        remove("_parse_key", "$KEY.Algorithm.prepare_key($MATERIAL)"),
        "tests/api/auth/test_jwks.py::test_a_set_without_a_fitting_key_is_none",
    ),
    Mutation(
        "minimum length of a key",
        JWKS,
        force("_parse_key", "$KEY.Algorithm.check_key_length($MATERIAL) is None", value=True),
        "tests/api/auth/test_jwks.py::test_a_set_without_a_fitting_key_is_none",
    ),
    Mutation(
        "cooldown of refreshes for unknown keys",
        JWKS,
        force(
            "JwksCache.refresh_for_unknown_kid",
            "running or monotonic() >= self._cooldown_ends_at",
            value=True,
        ),
        "tests/api/auth/test_jwks.py::test_a_flood_of_unknown_keys_is_one_look",
    ),
    Mutation(
        "last good keys after a failed refresh",
        JWKS,
        replace(
            "JwksCache._refresh",
            "self._refreshed = False",
            "self._refreshed, self._set = False, JwkSet(b'', {})",
        ),
        "tests/api/auth/test_jwks.py::test_a_file_that_is_replaced_counts",
    ),
    Mutation(
        "no redirect to other keys",
        JWKS,
        replace(
            "_read_url",
            "ProxyHandler()",
            '__import__("urllib.request").request.HTTPRedirectHandler(), ProxyHandler()',
        ),
        "tests/api/auth/test_jwks.py::test_an_answer_that_is_no_key_set_changes_nothing",
    ),
    Mutation(
        "size limit of a key set",
        JWKS,
        force("_check_size", "len($CONTENT) > MAX_JWKS_BYTES", value=False),
        "tests/api/auth/test_jwks.py::test_an_answer_that_is_no_key_set_changes_nothing",
    ),
]
