"""Pages answer this machine's user alone, and nothing on them can be changed or run."""

import pytest
from starlette.testclient import TestClient

from avstore.manifests.library import open_store
from avstore.pipelines.browse.access import Access
from avstore.pipelines.browse.app import create_app
from avstore.pipelines.browse.session import Session
from tests.pipelines.browse.conftest import PORT

OWN = f"http://127.0.0.1:{PORT}"
PATHS = ["/", "/clips", "/static/app.css", "/export.csv", "/nothing"]


@pytest.fixture(scope="module")
def access():
    return Access(PORT)


@pytest.fixture
def stranger(toy_folder, access):
    session = Session(open_store(toy_folder))
    with TestClient(create_app(session, access, None), base_url=OWN) as found:
        yield found
    session.close()


@pytest.mark.parametrize("path", PATHS)
def test_without_the_token_nothing_is_shown(stranger, path) -> None:
    answer = stranger.get(path)
    assert answer.status_code == 403
    assert answer.text == "open the address that avstore browse printed\n"
    assert stranger.get(f"{path}?token=wrong").status_code == 403


def test_the_address_opens_the_page_and_leaves_no_token_in_it(stranger, access) -> None:
    entry = stranger.get(f"/clips?token={access.token}&q=%3Cb%3E")
    assert entry.status_code == 200
    assert 'content="0; url=/clips?q=%3Cb%3E"' in entry.text
    assert access.token not in entry.text
    cookie = entry.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert stranger.get("/clips").status_code == 200
    assert str(access.token) not in repr(access)


@pytest.mark.parametrize("path", ["//evil.example/x", "/\\evil.example", "/%2f%2fevil.example"])
def test_the_entry_leads_to_no_other_site(stranger, access, path) -> None:
    entry = stranger.get(OWN + path + f"?token={access.token}")
    target = entry.text.split("url=")[1].split('"')[0]
    assert target.startswith("/")
    assert target[1:2] not in ("/", "\\")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:4321", "127.0.0.1:1", "", "[::1]"])
def test_another_host_name_is_refused(pages, host) -> None:
    assert pages.get("/", headers={"host": host}).status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
    ],
)
def test_requests_of_other_sites_are_refused(pages, headers) -> None:
    assert pages.get("/clips", headers=headers).status_code == 403


def test_requests_of_its_own_pages_are_served(pages) -> None:
    own = {"origin": OWN, "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}
    assert pages.get("/facet/split", headers=own).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT"])
def test_the_store_is_read_only(pages, method) -> None:
    answer = pages.request(method, "/clips")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", [*PATHS, "/live", "/facet/label", "/clips?nope=1"])
def test_every_answer_forbids_inline_scripts_and_guessed_types(pages, path) -> None:
    headers = pages.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["cross-origin-resource-policy"] == "same-origin"


def test_no_page_needs_what_the_policy_forbids(pages) -> None:
    from tests.pipelines.browse.test_pages import PAGES

    for path in PAGES:
        text = pages.get(path).text.lower()
        assert "<style" not in text, path
        assert " style=" not in text, path
        assert " onclick=" not in text, path
        assert text.count("<script") == text.count('<script type="module" src="/static/app.js">')


def test_the_address_that_a_browser_is_started_with_is_good_for_once(stranger, access) -> None:
    path = access.first_address.partition(str(access.port))[2]
    assert stranger.get(path).status_code == 200
    stranger.cookies.clear()
    assert stranger.get(path).status_code == 403
    assert stranger.get(f"/?token={access.token}").status_code == 200
