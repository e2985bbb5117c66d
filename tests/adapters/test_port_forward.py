"""A port is forwarded by kubectl while the block runs, and kubectl ends with it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from clinical_ai.adapters.port_forward import forwarded
from clinical_ai.errors import NeedsOperator, Transient

Kubectl = Callable[[str], dict[str, str]]
READY = "echo 'Forwarding from 127.0.0.1:40123 -> 4200'\n"
STAYS = f"{READY}exec sleep 600\n"


@pytest.fixture
def kubectl(tmp_path: Path) -> Kubectl:
    """A kubectl that notes its arguments and its process, and then does this."""

    def make(script: str) -> dict[str, str]:
        program = tmp_path / "kubectl"
        noted = f'#!/bin/sh\necho "$*" > {tmp_path}/words\necho $$ > {tmp_path}/pid\n'
        program.write_text(noted + script)
        program.chmod(0o755)
        return {"PATH": f"{tmp_path}:/usr/bin:/bin"}

    return make


def is_alive(folder: Path) -> bool:
    try:
        os.kill(int((folder / "pid").read_text()), 0)
    except ProcessLookupError:
        return False
    return True


def test_the_local_port_is_told_and_kubectl_lives_as_long_as_the_block(
    kubectl: Kubectl, tmp_path: Path
) -> None:
    with forwarded(kubectl(STAYS), "space", "server", 4200) as port:
        assert port == 40123
        assert is_alive(tmp_path)
    assert not is_alive(tmp_path)


def test_only_this_machine_can_reach_the_port(kubectl: Kubectl, tmp_path: Path) -> None:
    with forwarded(kubectl(STAYS), "space", "server", 4200):
        words = (tmp_path / "words").read_text().strip()
    assert words == "--namespace space port-forward --address 127.0.0.1 service/server :4200"


def test_the_cluster_that_was_chosen_is_the_one_that_is_reached(
    kubectl: Kubectl, tmp_path: Path
) -> None:
    with forwarded(kubectl(STAYS), "space", "server", 4200, context="other"):
        assert (tmp_path / "words").read_text().startswith("--context other --namespace space")


def test_kubectl_ends_when_the_block_fails(kubectl: Kubectl, tmp_path: Path) -> None:
    with pytest.raises(KeyError), forwarded(kubectl(STAYS), "space", "server", 4200):
        raise KeyError
    assert not is_alive(tmp_path)


def test_what_kubectl_says_before_is_no_port(kubectl: Kubectl) -> None:
    warning = "echo 'W0101 cache of discovery is old' >&2\n"
    with forwarded(kubectl(warning + STAYS), "space", "server", 4200) as port:
        assert port == 40123


def test_a_kubectl_that_ends_at_once_is_told_with_its_words(
    kubectl: Kubectl, tmp_path: Path
) -> None:
    script = "echo 'error: unable to forward port because pod is not running' >&2; exit 1\n"
    environ = kubectl(script)
    with (
        pytest.raises(Transient, match="can't forward to server: error: unable to forward port"),
        forwarded(environ, "space", "server", 4200),
    ):
        pytest.fail("there is no port")
    assert not is_alive(tmp_path)


def test_a_kubectl_that_says_nothing_is_waited_for_no_longer_than_it_may(
    kubectl: Kubectl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clinical_ai.adapters.port_forward._SECONDS", 0.2)
    with (
        pytest.raises(Transient, match=r"did not forward to server in .* no pod of it runs"),
        forwarded(kubectl("exec sleep 600\n"), "space", "server", 4200),
    ):
        pytest.fail("there is no port")


def test_much_that_kubectl_says_later_does_not_stop_it(kubectl: Kubectl, tmp_path: Path) -> None:
    """It would hang once a pipe that nobody reads is full."""
    os.mkfifo(tmp_path / "said")
    chatter = f"yes 'Handling connection for 40123' | head -n 20000\necho done > {tmp_path}/said\n"
    with forwarded(kubectl(f"{READY}{chatter}exec sleep 600\n"), "space", "server", 4200):
        assert (tmp_path / "said").read_text() == "done\n"


def test_without_kubectl_it_is_told_what_to_install(tmp_path: Path) -> None:
    with (
        pytest.raises(NeedsOperator, match="kubectl is not on the PATH") as refused,
        forwarded({"PATH": str(tmp_path)}, "space", "server", 4200),
    ):
        pytest.fail("there is no port")
    assert "install it" in refused.value.remedy
