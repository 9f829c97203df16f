"""Tests of the served contract: the files of the Swagger UI page, openapi.yaml and openapi.json."""

import hashlib
import re

import httpx
import pytest
import yaml

from session_service.api.contract import FILE
from tests.support.conformance import FILES
from tests.support.service import Service


@pytest.mark.parametrize("path", FILES)
def test_each_file_is_served(service: Service, path: str) -> None:
    """The ETag of a file is the hash of its bytes, with any query; HEAD returns the same headers."""
    response = service.client.get(path)
    assert response.headers["etag"] == f'"{hashlib.sha256(response.content).hexdigest()}"'
    assert response.content
    for same in (service.client.head(path), service.client.get(path, params={"a": "b"})):
        assert same.status_code == 200
        assert _without_changing_headers(same) == _without_changing_headers(response)


@pytest.mark.parametrize("path", FILES)
def test_304_for_a_known_etag(service: Service, path: str) -> None:
    """If-None-Match with the ETag, alone, weak or in a list, or `*`, gets 304; with another, the file."""
    etag = service.client.get(path).headers["etag"]
    for given in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        for method in ("GET", "HEAD"):
            response = service.client.request(method, path, headers={"if-none-match": given})
            assert (response.status_code, response.headers["etag"]) == (304, etag)
    assert service.client.get(path, headers={"if-none-match": '"other"'}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_405_for_methods_other_than_get_and_head(service: Service, method: str) -> None:
    """Methods other than GET and HEAD are 405, with Allow."""
    for path in FILES:
        response = service.client.request(method, path)
        assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "path",
    [
        "/docs/",
        "/docs/index.html",
        "/docs/swagger-ui.js",
        "/docs/swagger-ui.css.map",
        "/docs/swagger-ui.css/",
        "/docs/%2e%2e/openapi.yaml",
        "/docs/..%2fdocs.py",
        "/docs%0A",
        "/openapi.yml",
        "/monitor/",
        "/monitor/index.html",
        "/monitor/%2e%2e/docs.py",
    ],
)
def test_404_for_other_files(service: Service, path: str) -> None:
    """Every other path is 404, also that of another file in the installed package."""
    assert service.client.get(service.url + path).status_code == 404


def test_the_contract_is_served_unchanged(service: Service) -> None:
    """`/openapi.yaml` is the file, byte for byte, and `/openapi.json` the same document."""
    assert service.client.get("/openapi.yaml").content == FILE.read_bytes()
    assert service.client.get("/openapi.json").json() == yaml.safe_load(FILE.read_text())


def test_the_contract_has_no_accidental_markdown_list() -> None:
    """No line of prose starts with a number and a full stop: Markdown would make it a list."""
    assert re.findall(r"^ *\d+[.)] .*", FILE.read_text(), re.MULTILINE) == []


def test_no_file_refers_to_another_host(service: Service) -> None:
    """The pages load only files of the service, and these load nothing else."""
    texts = {path: service.client.get(path).text for path in FILES}
    # Relative, so that they lead to the same files behind a path prefix.
    referred = re.findall(r'(?:src|href)="(?!data:|#)([^"]*)"', texts["/docs"] + texts["/monitor"])
    imported = re.findall(r'from "[.]/([^"]*)"', "".join(texts.values()))
    loaded = {f"/{path}" for path in referred} | {f"/monitor/{path}" for path in imported}
    assert loaded == FILES.keys() - {"/docs", "/openapi.json", "/monitor", "/monitor/settings.json"}
    own = {path for path in FILES if "docs/swagger-ui" not in path and "openapi" not in path}
    for path in own:
        text = re.sub(r'"data:[^"]*"|"http://www.w3.org/2000/svg"', "", texts[path])
        assert re.findall(r"""["'(`]//|://""", text) == [], path
    for path in (path for path in FILES if path.endswith(".css")):
        assert re.findall(r"@import|url\(\"?(?!\"?data:)", texts[path]) == [], path


def _without_changing_headers(response: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name not in ("date", "x-request-id")}
