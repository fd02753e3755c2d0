"""Test that clips on the web cannot make this machine request its own network."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.fetch import address_guard
from avstore.pipelines.fetch.address_guard import AddressGuard, is_public
from tests.pipelines.fetch.clips import QUICK, make_request, make_source
from tests.servers.media_server import MediaServer

GUARDED = replace(QUICK, allow_private=False)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0",
     "100.64.0.1", "224.0.0.1", "::1", "::", "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1",
     "2002:7f00:1::"],
)  # fmt: skip
def test_local_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "142.250.1.1", "2a00:1450:4001::1"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433"])
def test_a_private_address_is_refused_without_a_request(server, tmp_path, host: str) -> None:
    url = server.url.replace("127.0.0.1", host) + "/ok/a.mp4"
    (row,) = make_source("urls", tmp_path, GUARDED).fetch([make_request("a", url=url)])
    assert (row.status, row.verdict) == ("gone", Verdict.NOT_FOUND), row.message
    assert "allow_private=true" in row.message
    assert not server.log.requests


@pytest.fixture
def guard(server):
    """Run a guard for which the host media.example is the server; others are what they are."""

    def connect(host: str, port: int, source: str | None) -> socket.socket:
        if host == "media.example":
            return socket.create_connection(server.server_address)
        return address_guard.connect(host, port, source)

    with AddressGuard(connect=connect) as running:
        yield running
        running.shutdown()


@pytest.mark.parametrize("end_s", [None, 0.4])
def test_clips_are_fetched_through_the_guard(server, guard, tmp_path: Path, end_s) -> None:
    request = make_request("a", url="http://media.example/ok/a.mp4")
    request = replace(request, start_s=0.0 if end_s else None, end_s=end_s)
    options = replace(QUICK, proxy=guard.url)
    (row,) = make_source("urls", tmp_path, options).fetch([request])
    assert row.status == "stored", row.message
    assert not guard.errors


@pytest.mark.parametrize("kind", ["redirect", "segment"])
@pytest.mark.parametrize("end_s", [None, 5.0])
def test_redirects_and_segments_at_private_addresses_are_refused(
    server, guard, tmp_path: Path, kind: str, end_s: float | None
) -> None:
    with MediaServer(server.folder) as private:
        target = f"{private.url}/ok/a.mp4"
        (server.folder / "a.m3u8").write_text(
            f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{target}\n#EXT-X-ENDLIST\n"
        )
        path = "ok/a.m3u8" if kind == "segment" else f"to/{target}"
        request = make_request("a", url=f"http://media.example/{path}")
        request = replace(request, start_s=0.0 if end_s else None, end_s=end_s)
        rows = list(make_source("urls", tmp_path, replace(QUICK, proxy=guard.url)).fetch([request]))
        assert not private.log.requests
    assert rows[-1].status != "stored"
    assert "is at the private address 127.0.0.1" in str(guard.errors[0])
