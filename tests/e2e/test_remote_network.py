"""The connection to a remote model: proxies, certificates, and direct connections to this machine."""

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.house import house as a_house
from tests.e2e.test_bad_input import refused
from tests.faulty_server import Server, server

DEAD = "http://127.0.0.1:9"
"""A port where nobody listens."""


@pytest.fixture
def endpoint() -> Iterator[Server]:
    with server() as made:
        yield made


def test_loopback_addresses_are_never_proxied(endpoint: Server) -> None:
    dead = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), DEAD)
    with a_house(**dead) as house:
        for name, host in (("a", "127.0.0.1"), ("b", "localhost")):
            house.ok("models", "add", name, endpoint.url.replace("127.0.0.1", host))
            assert house.ok("ask", "why?", "-m", name).out == "hello there!\n"
        house.ok("models", "add", "far", "http://models.example/v1", "--set", "retries=0")
        refused(house.run("ask", "why?", "-m", "far"), 4, "models.example", "cannot be reached")


def test_other_hosts_are_reached_through_the_proxy(endpoint: Server) -> None:
    proxy = endpoint.url.removesuffix("/v1")
    with a_house(HTTP_PROXY=proxy, http_proxy=proxy, NO_PROXY="spared.invalid", no_proxy="spared.invalid") as house:
        house.ok("models", "add", "far", "http://models.example/v1")
        assert house.ok("ask", "why?", "-m", "far").out == "hello there!\n"
        assert endpoint.asked[0].target == "http://models.example/v1/chat/completions"
        house.ok("models", "add", "spared", "http://spared.invalid/v1", "--set", "retries=0")
        refused(house.run("ask", "why?", "-m", "spared"), 4, "spared.invalid", "cannot be reached")
        assert {asked.headers["host"] for asked in [*endpoint.asked, *endpoint.looked]} == {"models.example"}


def test_an_https_endpoint_is_reached_through_a_connect_tunnel(endpoint: Server) -> None:
    proxy = endpoint.url.removesuffix("/v1")
    with a_house(HTTPS_PROXY=proxy, https_proxy=proxy) as house:
        house.ok("models", "add", "far", "https://models.example/v1", "--set", "retries=0")
        refused(house.run("ask", "why?", "-m", "far"), 4, "models.example", "cannot be reached")
    (asked,) = endpoint.asked
    assert (asked.method, asked.target) == ("CONNECT", "models.example:443")
    assert "authorization" not in asked.headers


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 127.0.0.1, signed by itself; with its key in the same file."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


def test_an_untrusted_certificate_is_refused_unless_it_is_configured(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    with server(tls=context) as endpoint:
        with a_house() as house:
            house.ok("models", "add", "safe", endpoint.url)
            refused(house.run("ask", "why?", "-m", "safe"), 4, "certificate", "SSL_CERT_FILE")
            assert endpoint.asked == endpoint.looked == []
        with a_house(SSL_CERT_FILE=str(certificate / "cert.pem"), HTTPS_PROXY=DEAD) as house:
            house.ok("models", "add", "safe", endpoint.url)
            assert house.ok("ask", "why?", "-m", "safe").out == "hello there!\n"
        with a_house(SSL_CERT_FILE="/nowhere.pem") as house:
            house.ok("models", "add", "safe", endpoint.url)
            refused(house.run("ask", "why?", "-m", "safe"), 4, "certificates or proxy are wrong", "SSL_CERT_FILE")
