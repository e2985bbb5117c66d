"""Secrets as a kubelet mounts them: links to a folder that it replaces as a whole."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from clinical_ai.adapters.mounted_secrets import MountedSecrets
from clinical_ai.errors import NeedsOperator
from clinical_ai.ports import SecretStore

CANARY = "hunter2-canary"
REFERENCE = "secret:clinical-ai-test/some.key"


def mount(root: Path, value: bytes, version: str = "..1") -> SecretStore:
    """As the kubelet does: a folder of this version, a link to it, and a link to each key."""
    volume = root / "clinical-ai-test"
    (volume / version).mkdir(parents=True)
    (volume / version / "some.key").write_bytes(value)
    (volume / "..new").symlink_to(version)
    (volume / "..new").rename(volume / "..data")
    if not (volume / "some.key").is_symlink():
        (volume / "some.key").symlink_to("..data/some.key")
    return MountedSecrets(root)


def test_a_mounted_key_is_read_without_its_last_line_end(tmp_path: Path) -> None:
    store = mount(tmp_path, f"{CANARY}\n".encode())
    assert store.get(REFERENCE).get_secret_value() == CANARY


def test_a_rotated_value_is_read_without_a_restart(tmp_path: Path) -> None:
    store = mount(tmp_path, b"old")
    assert store.get(REFERENCE).get_secret_value() == "old"
    mount(tmp_path, b"new", "..2")
    assert store.get(REFERENCE).get_secret_value() == "new"


@pytest.mark.parametrize("absent", ["secret:clinical-ai-test/other", "secret:other/some.key"])
def test_what_is_not_mounted_is_an_answer_to_find_and_an_error_to_get(
    tmp_path: Path, absent: str
) -> None:
    store = mount(tmp_path, b"x")
    assert store.find(absent) is None
    with pytest.raises(NeedsOperator, match=absent) as refused:
        store.get(absent)
    assert "add the key" in refused.value.remedy


def test_a_pod_has_a_place_for_what_it_mounts_also_while_that_is_empty(tmp_path: Path) -> None:
    store = MountedSecrets(tmp_path)
    assert not store.has_place_for(REFERENCE)
    (tmp_path / "clinical-ai-test").mkdir()
    assert store.has_place_for(REFERENCE)
    assert store.find(REFERENCE) is None


@pytest.mark.parametrize("damaged", [b"", b"\n", b"\xff\xfe", b"a\0b"])
def test_a_value_that_is_no_text_is_not_taken_for_one(tmp_path: Path, damaged: bytes) -> None:
    with pytest.raises(NeedsOperator, match="is empty or holds no text"):
        mount(tmp_path, damaged).find(REFERENCE)


@pytest.mark.parametrize(
    "pasted", [CANARY, "secret:a/..", "secret:../a", "secret:a/b/c", "vault:a/b#c", f"env:{CANARY}"]
)
def test_what_is_no_reference_is_refused_and_never_repeated(tmp_path: Path, pasted: str) -> None:
    with pytest.raises(NeedsOperator) as refused:
        MountedSecrets(tmp_path).find(pasted)
    assert CANARY not in f"{refused.value} {refused.value!r}"


def test_a_pod_writes_no_secret_and_repeats_none(tmp_path: Path) -> None:
    store = mount(tmp_path, b"x")
    for write in (store.put, store.ensure):
        with pytest.raises(NeedsOperator, match="a pod can't write") as refused:
            write(REFERENCE, SecretStr(CANARY))
        assert CANARY not in str(refused.value)


def test_a_key_that_is_a_folder_is_a_fault_and_not_an_absence(tmp_path: Path) -> None:
    (tmp_path / "clinical-ai-test" / "some.key").mkdir(parents=True)
    with pytest.raises(NeedsOperator, match="can't be read in this pod"):
        MountedSecrets(tmp_path).find(REFERENCE)
