"""The proxy is the one that kubectl would take."""

import pytest

from clinical_ai.adapters.proxies import find_proxy

PROXY = "http://proxy.test:3128"


def proxy(url: str, no_proxy: str = "", name: str = "HTTPS_PROXY") -> str | None:
    return find_proxy(url, {name: PROXY, "NO_PROXY": no_proxy})


@pytest.mark.parametrize(
    ("host", "no_proxy"),
    [
        ("10.96.0.1", "10.96.0.0/12"),
        ("10.96.0.1", "a.test, 10.96.0.1"),
        ("10.96.0.1", "10.96.0.1:6443"),
        ("[fd00::1]", "fd00::/8"),
        ("[fd00::1]", "fd00::1"),
        ("k8s.corp.test", "corp.test"),
        ("k8s.corp.test", ".corp.test"),
        ("k8s.corp.test", "*.corp.test"),
        ("K8S.corp.test", "k8s.CORP.test"),
        ("k8s.corp.test", "k8s.corp.test:6443"),
        ("k8s.corp.test", "*"),
        ("localhost", ""),
        ("127.0.0.1", ""),
        ("[::1]", ""),
    ],
)
def test_what_no_proxy_names_is_reached_directly(host: str, no_proxy: str) -> None:
    assert proxy(f"https://{host}:6443", no_proxy) is None


@pytest.mark.parametrize(
    ("host", "no_proxy"),
    [
        ("10.96.0.1", "10.97.0.0/16"),
        ("10.96.0.1", "10.96.0.1:443"),
        ("10.96.0.1", "not-a/network, ,"),
        ("k8s.corp.test", "orp.test"),
        ("corp.test", ".corp.test"),
        ("k8s.corp.test", "10.0.0.0/8"),
    ],
)
def test_everything_else_goes_through_the_proxy(host: str, no_proxy: str) -> None:
    assert proxy(f"https://{host}:6443", no_proxy) == PROXY


def test_the_variable_is_that_of_the_scheme_in_either_case() -> None:
    assert proxy("https://a.test", name="https_proxy") == PROXY
    assert proxy("http://a.test", name="HTTP_PROXY") == PROXY
    assert proxy("https://a.test", name="HTTP_PROXY") is None
    assert find_proxy("https://a.test", {}) is None
    assert find_proxy("https://a.test", {"HTTPS_PROXY": "proxy:1"}) == "http://proxy:1"
