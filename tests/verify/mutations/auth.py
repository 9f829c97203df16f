"""Mutations of session_service/api/auth/."""

from tests.verify.mutations.mutation import Mutation, force, remove, replace, set_argument, set_constant

BEARER = "session_service/api/auth/bearer.py"
JWKS = "session_service/api/auth/jwks.py"
SCOPES = "session_service/api/auth/scopes.py"

MUTATIONS = [
    Mutation(
        "one Authorization header",
        BEARER,
        force("BearerAuthenticator.authenticate", "len($HEADERS) > 1", value=False),
        "tests/api/auth/test_bearer.py::test_exactly_one_authorization_header_is_required",
    ),
    Mutation(
        "expiry of a cached token",
        BEARER,
        force("BearerAuthenticator.authenticate", "time() < $TOKEN.expires_at", value=True),
        "tests/api/auth/test_bearer.py::test_a_cached_token_expires",
    ),
    Mutation(
        "cached tokens dropped with their keys",
        BEARER,
        set_argument("BearerAuthenticator.__init__", "changed", "lambda: None"),
        "tests/api/auth/test_jwks_refresh.py::test_a_replaced_key_file_is_reloaded",
    ),
    Mutation(
        "size limit of a token",
        BEARER,
        force("BearerAuthenticator._verify", "len($TOKEN) > MAX_TOKEN_BYTES", value=False),
        "tests/api/auth/test_bearer.py::test_an_invalid_token_is_rejected",
    ),
    Mutation(
        "rejection of a token that names its own key",
        BEARER,
        set_constant("_REJECTED_PARAMETERS", '{"crit"}'),
        "tests/api/auth/test_bearer.py::test_an_invalid_token_is_rejected",
    ),
    Mutation(
        "required claims of a token",
        BEARER,
        set_argument("BearerAuthenticator._decode", "options", "{}"),
        "tests/api/auth/test_bearer.py::test_an_invalid_token_is_rejected",
    ),
    Mutation(
        "scope of a service",
        SCOPES,
        replace("read_scopes", "service_scope in $SCOPES", "bool($SCOPES)"),
        "tests/api/auth/test_bearer.py::test_a_valid_token_identifies_its_principal",
    ),
    Mutation(
        "pinned algorithms",
        JWKS,
        replace(
            "_parse_entry",
            "[$KEY for $NAME in algorithms if $FITS]",
            '[$KEY for $NAME in ("RS384", *algorithms) if $FITS]',
        ),
        "tests/api/auth/test_jwks.py::test_signature_keys_are_used_for_pinned_algorithms",
    ),
    Mutation(
        "public keys only",
        JWKS,
        force("_parse_entry", '"d" in entry', value=False),
        "tests/api/auth/test_jwks.py::test_a_jwk_set_without_a_usable_key_is_an_error",
    ),
    Mutation(
        "curve of a key",
        JWKS,
        remove("_parse_key", "$KEY.Algorithm.prepare_key($MATERIAL)"),
        "tests/api/auth/test_jwks.py::test_a_jwk_set_without_a_usable_key_is_an_error",
    ),
    Mutation(
        "minimum length of a key",
        JWKS,
        force("_parse_key", "$KEY.Algorithm.check_key_length($MATERIAL) is None", value=True),
        "tests/api/auth/test_jwks.py::test_a_jwk_set_without_a_usable_key_is_an_error",
    ),
    Mutation(
        "cooldown of refreshes for unknown keys",
        JWKS,
        force(
            "JwksCache.refresh_for_unknown_kid",
            "running or monotonic() >= self._cooldown_ends_at",
            value=True,
        ),
        "tests/api/auth/test_jwks_refresh.py::test_unknown_kids_cause_one_refresh",
    ),
    Mutation(
        "last good keys after a failed refresh",
        JWKS,
        replace(
            "JwksCache._refresh",
            "self._refreshed = False",
            "self._refreshed, self._set = False, JwkSet(b'', {})",
        ),
        "tests/api/auth/test_jwks_refresh.py::test_a_replaced_key_file_is_reloaded",
    ),
    Mutation(
        "no redirect to other keys",
        JWKS,
        replace(
            "_read_url",
            "ProxyHandler()",
            '__import__("urllib.request").request.HTTPRedirectHandler(), ProxyHandler()',
        ),
        "tests/api/auth/test_jwks_outages.py::test_a_failed_fetch_keeps_the_last_keys",
    ),
    Mutation(
        "size limit of a key set",
        JWKS,
        force("_check_size", "len($CONTENT) > MAX_JWKS_BYTES", value=False),
        "tests/api/auth/test_jwks_outages.py::test_a_failed_fetch_keeps_the_last_keys",
    ),
]
