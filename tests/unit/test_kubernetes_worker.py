"""Certificates of older authorities are accepted, and nothing else about them is let go."""

import runpy
import ssl
import sys

import pytest

from clinical_ai.kubernetes_worker import accept_older_authorities


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """As this process makes one from now on; where the newer rules are the default."""
    made = ssl.create_default_context

    def as_in_python_3_13() -> ssl.SSLContext:
        context = made()
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", as_in_python_3_13)
    accept_older_authorities()
    return ssl.create_default_context()


def test_the_newer_rules_are_not_asked_for(lenient: ssl.SSLContext) -> None:
    assert not lenient.verify_flags & ssl.VERIFY_X509_STRICT


def test_chain_and_name_are_verified_as_ever(lenient: ssl.SSLContext) -> None:
    usual = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert (lenient.verify_mode, lenient.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert lenient.minimum_version >= usual.minimum_version


def test_what_a_context_is_made_from_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssl, "create_default_context", ssl.create_default_context)
    accept_older_authorities()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    assert context.verify_mode == ssl.CERT_NONE  # a server asks its clients for none
    with pytest.raises(FileNotFoundError):
        ssl.create_default_context(cafile="/nonexistent/ca.pem")


def test_it_becomes_prefects_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssl, "create_default_context", ssl.create_default_context)
    become: list[list[str]] = []
    start = runpy.run_module

    def run_module(name: str, **options: str) -> None:
        become.append([name, options["run_name"], *sys.argv])

    monkeypatch.setattr(sys, "argv", ["anything", "worker", "start", "--pool", "platform"])
    monkeypatch.setattr(runpy, "run_module", run_module)
    monkeypatch.delitem(sys.modules, "clinical_ai.kubernetes_worker")
    start("clinical_ai.kubernetes_worker", run_name="__main__")
    assert become == [["prefect", "__main__", "prefect", "worker", "start", "--pool", "platform"]]
