"""What every SecretStore promises, the fake included."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from pydantic import SecretStr

from clinical_ai.adapters.cluster_secrets import ClusterSecrets
from clinical_ai.adapters.file_secrets import FileSecrets
from clinical_ai.change import Did
from clinical_ai.errors import NeedsOperator
from clinical_ai.ports import SecretStore
from tests.support.fake_cluster import FakeCluster
from tests.support.fakes import MemorySecrets

CANARY = "hunter2-canary"
REFERENCE = "secret:clinical-ai-test/some-key"


@pytest.fixture(params=["memory", "file", "cluster"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SecretStore:
    match request.param:
        case "memory":
            return MemorySecrets()
        case "file":
            return FileSecrets(tmp_path)
    return ClusterSecrets(FakeCluster().open())


def test_an_absent_secret_is_an_answer_to_find_and_an_error_to_get(store: SecretStore) -> None:
    assert store.find(REFERENCE) is None
    with pytest.raises(NeedsOperator, match=REFERENCE):
        store.get(REFERENCE)


def test_another_key_of_the_same_secret_is_absent(store: SecretStore) -> None:
    store.put(REFERENCE, SecretStr(CANARY))
    assert store.find("secret:clinical-ai-test/other-key") is None


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


@pytest.mark.parametrize(
    "pasted",
    [CANARY, f"secret:{CANARY}", f"secret:a/{CANARY} ", f"secret:../{CANARY}", "secret:a/..", ""],
)
def test_what_is_no_reference_is_refused_and_never_repeated(
    store: SecretStore, pasted: str
) -> None:
    for use in (
        lambda: store.find(pasted),
        lambda: store.get(pasted),
        lambda: store.ensure(pasted, SecretStr("value")),
        lambda: store.put(pasted, SecretStr("value")),
    ):
        with pytest.raises(NeedsOperator) as refused:
            use()
        assert CANARY not in f"{refused.value!r} {refused.value}"


@pytest.mark.parametrize("value", ["", f"{CANARY}\0", f"{CANARY}\udc80"])
def test_an_empty_value_or_a_nul_is_refused_and_nothing_written(
    store: SecretStore, value: str
) -> None:
    for use in (store.ensure, store.put):
        with pytest.raises(NeedsOperator) as refused:
            use(REFERENCE, SecretStr(value))
        assert CANARY not in f"{refused.value!r} {refused.value}"
    assert store.find(REFERENCE) is None


def test_any_text_comes_back_to_the_letter(store: SecretStore) -> None:
    @settings(
        max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(
        value=some.text(
            some.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1
        )
        | some.sampled_from(["\n", "line\n", "two\nlines\r\n", " spaced "])
    )
    def comes_back(value: str) -> None:
        store.put(REFERENCE, SecretStr(value))
        assert store.get(REFERENCE).get_secret_value() == value

    comes_back()
