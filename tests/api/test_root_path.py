"""Tests of ROOT_PATH and reverse proxies: links and entity tags behind a prefix and behind compression."""

import json
import re
from collections.abc import Iterator

import pytest
import yaml

from session_service.environment import SettingError
from session_service.settings import Settings
from tests.conftest import Urls
from tests.support import conformance
from tests.support.proxies import behind_nginx, nginx
from tests.support.service import Service, running, validated_client_behind_proxy

PREFIX = "/quiz"
BODY = {"user_id": "ada", "quiz_id": 7}
COMPRESSED = """
  gzip on;
  gzip_types application/json;
  gzip_min_length 20;
  gzip_proxied any;
"""


@pytest.fixture(scope="module")
def prefixed(migrated: Urls) -> Iterator[Service]:
    """A service with ROOT_PATH."""
    with running(migrated, ROOT_PATH=PREFIX) as service:
        yield service


@pytest.mark.needs("nginx")
@pytest.mark.parametrize("target", ["/", ""], ids=["stripped", "left on"])
def test_location_has_the_root_path(prefixed: Service, target: str) -> None:
    """`Location` leads to the session, whether or not the proxy strips the prefix from the path."""
    with behind_nginx(prefixed, PREFIX, target) as client:
        started = client.post(f"{PREFIX}/api/sessions/start", json=BODY)
        assert started.headers["location"] == f"{PREFIX}/api/sessions/{started.json()['id']}"
        assert client.get(started.headers["location"]).json() == started.json()
        assert client.get(f"{PREFIX}/health/ready").status_code == 200
        assert client.get(f"{PREFIX}/nowhere").status_code == 404


@pytest.mark.needs("nginx")
@pytest.mark.parametrize("target", ["/", ""], ids=["stripped", "left on"])
def test_the_docs_page_has_the_root_path(prefixed: Service, target: str) -> None:
    """Each file of the docs page is found under the prefix, and the contract's server URL is the prefix."""
    with behind_nginx(prefixed, PREFIX, target) as client:
        page = client.get(f"{PREFIX}/docs")
        for path in re.findall(r'(?:src|href)="(?!data:)([^"]*)"', page.text):
            assert client.get(page.url.join(path)).status_code == 200
        for document in (
            json.loads(client.get(f"{PREFIX}/openapi.json").text),
            yaml.safe_load(client.get(f"{PREFIX}/openapi.yaml").text),
        ):
            assert [server["url"] for server in document["servers"]] == [PREFIX]
            assert document["paths"] == conformance.DOCUMENT["paths"]


@pytest.mark.parametrize("root_path", ["/api", "/api/sessions", "/a/b.c/d~e_f-g/"])
def test_root_path_like_a_path_of_the_contract(migrated: Urls, root_path: str) -> None:
    """With a prefix like a path of the contract, paths with and without it lead to the same operation."""
    prefix = root_path.rstrip("/")
    with (
        running(migrated, ROOT_PATH=root_path) as service,
        validated_client_behind_proxy(service.url, prefix) as unstripped,
    ):
        for client, before in ((service.client, ""), (unstripped, prefix)):
            started = client.post(f"{before}/api/sessions/start", json=BODY)
            location = started.headers["location"]
            assert location == f"{prefix}/api/sessions/{started.json()['id']}"
            assert unstripped.get(location).json() == started.json()
            assert service.client.get(location.removeprefix(prefix)).json() == started.json()
            for path in ("/health/live", "/docs"):
                assert client.get(f"{before}{path}").status_code == 200


@pytest.mark.parametrize(
    "root_path", ["quiz", "/quiz//x", "/a b", "/../x", "/.", "/quiz?x", "https://x/quiz"]
)
def test_an_invalid_root_path_is_rejected(root_path: str) -> None:
    """An invalid ROOT_PATH is an error of the settings that names it."""
    urls = {"DATABASE_URL": "postgresql://x@127.0.0.1:1/x", "REDIS_URL": "redis://127.0.0.1:1"}
    with pytest.raises(SettingError, match="ROOT_PATH must be a path prefix"):
        Settings.read({**urls, "ROOT_PATH": root_path})


@pytest.mark.needs("nginx")
def test_a_weak_etag_is_valid(service: Service) -> None:
    """An ETag that nginx has made weak is valid in `If-Match` and `If-None-Match`."""
    with (
        nginx(f"location / {{ proxy_pass {service.url}; }}", COMPRESSED) as url,
        validated_client_behind_proxy(url) as client,
    ):
        session = client.post("/api/sessions/start", json=BODY).json()
        path = f"/api/sessions/{session['id']}"
        for version in (1, 2, 3):
            read = client.get(path)
            assert (read.headers["content-encoding"], read.headers["etag"]) == ("gzip", f'W/"{version}"')
            known = {"if-none-match": read.headers["etag"]}
            assert client.get(path, headers=known).status_code == 304
            saved = client.put(
                f"{path}/progress",
                json={"question_id": 1, "answer": str(version)},
                headers={"if-match": read.headers["etag"]},
            )
            assert (saved.status_code, saved.json()["version"]) == (200, version + 1)
        stale = client.put(
            f"{path}/progress", json={"question_id": 1, "answer": "x"}, headers={"if-match": 'W/"3"'}
        )
        assert stale.status_code == 409
