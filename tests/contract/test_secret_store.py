"""What every SecretStore promises, the fake included.

Some can be read only: what is in them somebody else has written, in the form that `put` would have.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from pydantic import SecretStr

from clinical_ai.adapters.cluster_secrets import ClusterSecrets
from clinical_ai.adapters.file_secrets import FileSecrets
from clinical_ai.adapters.mounted_secrets import MountedSecrets
from clinical_ai.adapters.pod_secrets import PodSecrets
from clinical_ai.adapters.secret_text import encoded
from clinical_ai.adapters.vault_secrets import VaultSecrets
from clinical_ai.change import Did
from clinical_ai.errors import NeedsOperator
from clinical_ai.ports import SecretStore
from clinical_ai.settings_vault import VaultAccess
from tests.support.fake_cluster import FakeCluster
from tests.support.fakes import MemorySecrets
from tests.support.vault import own_part
from tests.support.vault_server import VaultTestServer

CANARY = "hunter2-canary"
REFERENCE = "secret:clinical-ai-test/some-key"
IN_VAULT = "vault:secret/clinical-ai/test#some-key"
REAL = [pytest.mark.cluster, pytest.mark.parts]


@dataclass(frozen=True)
class Kept:
    """A store, one of its references with another beside it, and how the first gets a value."""

    store: SecretStore
    write: Callable[[str], object]
    one: str = REFERENCE
    other: str = "secret:clinical-ai-test/other-key"


def writable(name: str, root: Path) -> SecretStore:
    match name:
        case "memory":
            return MemorySecrets()
        case "file":
            return FileSecrets(root)
    return ClusterSecrets(FakeCluster().open())


def in_form(value: str) -> str:
    """As stores keep it."""
    return encoded("it", SecretStr(value)).decode()


def mounted(root: Path) -> Kept:
    file = root / "clinical-ai-test" / "some-key"
    file.parent.mkdir()
    return Kept(MountedSecrets(root), lambda value: file.write_text(in_form(value), newline=""))


def in_vault(
    vault: VaultTestServer, token: Path, version: Literal["v1", "v2"], *, composed: bool = False
) -> Kept:
    vault.versions["secret"] = version
    access = VaultAccess(vault_address=vault.address, kv_version=version)
    store: SecretStore = VaultSecrets(access, token)
    if composed:
        own = store
        store = PodSecrets(MemorySecrets(), lambda: own)

    def write(value: str) -> None:
        vault.keep("secret/clinical-ai/test", **{"some-key": in_form(value)})

    return Kept(store, write, IN_VAULT, "vault:secret/clinical-ai/test#other-key")


@pytest.fixture(params=["memory", "file", "cluster"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SecretStore:
    """One that can be written."""
    return writable(request.param, tmp_path)


@pytest.fixture(
    params=[
        *("memory", "file", "cluster", "mounted", "v1", "v2", "pod"),
        *(pytest.param(f"real-{version}", marks=REAL) for version in ("v1", "v2")),
    ]
)
def kept(
    request: pytest.FixtureRequest, tmp_path: Path, vault: VaultTestServer, pod_token: Path
) -> Iterator[Kept]:
    """Any."""
    match request.param:
        case "mounted":
            yield mounted(tmp_path)
        case "v1" | "v2" as version:
            yield in_vault(vault, pod_token, version)
        case "pod":
            yield in_vault(vault, pod_token, "v2", composed=True)
        case "real-v1" | "real-v2" as real:
            with own_part(tmp_path, real.removeprefix("real-")) as (access, token, write):
                place = f"vault:{access.kv_mount}/{access.secret_path}"
                yield Kept(
                    VaultSecrets(access, token),
                    lambda value: write({"some-key": in_form(value)}),
                    f"{place}#some-key",
                    f"{place}#other-key",
                )
        case name:
            found = writable(name, tmp_path)
            yield Kept(found, lambda value: found.put(REFERENCE, SecretStr(value)))


# Reading.


def test_an_absent_secret_is_an_answer_to_find_and_an_error_to_get(kept: Kept) -> None:
    assert kept.store.find(kept.one) is None
    with pytest.raises(NeedsOperator, match=kept.one):
        kept.store.get(kept.one)


def test_another_key_of_the_same_secret_is_absent(kept: Kept) -> None:
    kept.write(CANARY)
    assert kept.store.find(kept.other) is None


def test_a_value_is_the_one_that_was_written_last(kept: Kept) -> None:
    for value in (CANARY, "later"):
        kept.write(value)
        assert kept.store.get(kept.one).get_secret_value() == value


@pytest.mark.parametrize(
    "pasted",
    [
        *(CANARY, f"secret:{CANARY}", f"secret:a/{CANARY} ", f"secret:../{CANARY}", "secret:a/.."),
        *(f"vault:{CANARY}", f"vault:a#{CANARY}", f"vault:../{CANARY}#a", f"vault:a/b#{CANARY} "),
        "",
    ],
)
def test_what_is_no_reference_is_refused_and_never_repeated(kept: Kept, pasted: str) -> None:
    for use in (
        lambda: kept.store.find(pasted),
        lambda: kept.store.get(pasted),
        lambda: kept.store.ensure(pasted, SecretStr("value")),
        lambda: kept.store.put(pasted, SecretStr("value")),
    ):
        with pytest.raises(NeedsOperator) as refused:
            use()
        assert CANARY not in f"{refused.value!r} {refused.value}"


def test_any_text_comes_back_to_the_letter(kept: Kept) -> None:
    @settings(
        max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(
        value=some.text(
            some.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1
        )
        | some.sampled_from(["\n", "line\n", "two\nlines\r\n", " spaced "])
    )
    def comes_back(value: str) -> None:
        kept.write(value)
        assert kept.store.get(kept.one).get_secret_value() == value

    comes_back()


# Writing.


def test_ensure_makes_a_secret_once_and_keeps_it(store: SecretStore) -> None:
    assert store.ensure(REFERENCE, SecretStr("first")).did is Did.CREATED
    assert store.ensure(REFERENCE, SecretStr("second")).did is Did.UNCHANGED
    assert store.get(REFERENCE).get_secret_value() == "first"


def test_put_replaces_and_says_so(store: SecretStore) -> None:
    assert store.put(REFERENCE, SecretStr("first")).did is Did.CREATED
    assert store.put(REFERENCE, SecretStr("second")).did is Did.UPDATED
    assert store.put(REFERENCE, SecretStr("second")).did is Did.UNCHANGED
    assert store.get(REFERENCE).get_secret_value() == "second"


def test_a_change_names_the_reference_and_never_the_value(store: SecretStore) -> None:
    change = store.put(REFERENCE, SecretStr(CANARY))
    assert REFERENCE in str(change)
    assert CANARY not in repr(change)


@pytest.mark.parametrize("value", ["", f"{CANARY}\0", f"{CANARY}\udc80"])
def test_an_empty_value_or_a_nul_is_refused_and_nothing_written(
    store: SecretStore, value: str
) -> None:
    for use in (store.ensure, store.put):
        with pytest.raises(NeedsOperator) as refused:
            use(REFERENCE, SecretStr(value))
        assert CANARY not in f"{refused.value!r} {refused.value}"
    assert store.find(REFERENCE) is None


@pytest.mark.parametrize("name", ["mounted", "vault", "pod"])
def test_one_that_pods_read_writes_nothing_and_repeats_nothing(
    name: str, tmp_path: Path, vault: VaultTestServer, pod_token: Path
) -> None:
    found = mounted(tmp_path) if name == "mounted" else None
    found = found or in_vault(vault, pod_token, "v2", composed=name == "pod")
    for write in (found.store.ensure, found.store.put):
        with pytest.raises(NeedsOperator, match="a pod can't write") as refused:
            write(found.one, SecretStr(CANARY))
        assert CANARY not in f"{refused.value!r} {refused.value}"
    assert found.store.find(found.one) is None


@pytest.mark.parametrize("place", ["fake", pytest.param("real", marks=REAL)])
def test_vault_tells_without_a_login_that_it_serves(
    place: str, tmp_path: Path, vault: VaultTestServer
) -> None:
    with ExitStack() as stack:
        access = VaultAccess(vault_address=vault.address)
        if place == "real":
            access, _, _ = stack.enter_context(own_part(tmp_path, "v2"))
        told = VaultSecrets(access, tmp_path / "no-token").check_health()
        assert told == f"{access.vault_address} answers, unsealed"
