"""Secrets of a namespace: others' keys stay, and what is missing is told with its kubectl line."""

import traceback
from base64 import b64decode, b64encode

import pytest
from pydantic import SecretStr

from clinical_ai import names
from clinical_ai.adapters.cluster_secrets import ClusterSecrets
from clinical_ai.change import Did
from clinical_ai.errors import NeedsOperator, Transient
from tests.support.fake_cluster import FakeCluster, Request
from tests.support.objects import secret

CANARY = "hunter2-canary"
REFERENCE = "secret:credentials/some.key"


@pytest.fixture
def fake() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def store(fake: FakeCluster) -> ClusterSecrets:
    return ClusterSecrets(fake.open())


def held(fake: FakeCluster) -> dict[str, str]:
    """The Secret's keys and values."""
    data = fake.look("Secret", "credentials")["data"]
    return {key: b64decode(value).decode() for key, value in data.items()}


def test_keys_that_others_put_there_stay(fake: FakeCluster, store: ClusterSecrets) -> None:
    fake.put(secret(theirs="x"))
    assert store.put(REFERENCE, SecretStr("mine")).did is Did.CREATED
    assert store.put(REFERENCE, SecretStr("new")).did is Did.UPDATED
    assert held(fake) == {"theirs": "x", "some.key": "new"}


def test_a_secret_that_is_there_is_kept_as_it_is(fake: FakeCluster, store: ClusterSecrets) -> None:
    fake.put(secret(**{"some.key": "theirs\n"}))
    before = fake.look("Secret", "credentials")
    assert store.ensure(REFERENCE, SecretStr("mine")).did is Did.UNCHANGED
    assert fake.look("Secret", "credentials") == before


def test_what_somebody_else_made_at_the_same_moment_is_kept(
    fake: FakeCluster, store: ClusterSecrets
) -> None:
    """Two installations at once: the server of the first one starts with the first one's key."""

    def make_first(_: Request) -> None:
        fake.on_write = lambda _: None
        fake.put(secret(**{"some.key": "theirs"}))

    fake.on_write = make_first
    assert store.ensure(REFERENCE, SecretStr("mine")).did is Did.UNCHANGED
    assert held(fake) == {"some.key": "theirs"}


def test_a_value_that_is_there_already_is_not_written_again(
    fake: FakeCluster, store: ClusterSecrets
) -> None:
    store.put(REFERENCE, SecretStr("mine"))
    fake.requests.clear()
    assert store.put(REFERENCE, SecretStr("mine")).did is Did.UNCHANGED
    assert fake.writes == []


def test_a_secret_that_it_makes_is_told_to_be_the_platforms(
    fake: FakeCluster, store: ClusterSecrets
) -> None:
    store.put(REFERENCE, SecretStr("mine"))
    found = fake.look("Secret", "credentials")
    assert found["metadata"]["labels"] == {"app.kubernetes.io/part-of": names.PRODUCT}


def test_a_value_that_came_from_a_file_is_read_without_its_last_line_end(
    fake: FakeCluster, store: ClusterSecrets
) -> None:
    fake.put(secret(**{"some.key": f"{CANARY}\n"}))
    assert store.get(REFERENCE).get_secret_value() == CANARY


@pytest.mark.parametrize("damaged", [b"", b"\n", b"\xff\xfe", b"a\0b"])
def test_a_value_that_is_no_text_is_neither_taken_for_one_nor_for_none(
    fake: FakeCluster, store: ClusterSecrets, damaged: bytes
) -> None:
    kind = {**secret(), "data": {"some.key": b64encode(damaged).decode()}}
    del kind["stringData"]
    fake.put(kind)
    for use in (store.find, store.get):
        with pytest.raises(NeedsOperator, match=f"{REFERENCE} is empty or holds no text"):
            use(REFERENCE)


MAKE = "kubectl create secret generic credentials -n default"
PATCH = (
    " --dry-run=client -o json | kubectl patch secret credentials -n default"
    " --patch-file=/dev/stdin"
)


def test_what_is_missing_is_told_with_the_line_that_adds_it(
    fake: FakeCluster, store: ClusterSecrets
) -> None:
    with pytest.raises(NeedsOperator, match=f"{REFERENCE} is not there") as absent:
        store.get(REFERENCE)
    assert absent.value.remedy.endswith(f": {MAKE} --from-file=some.key=FILE")
    fake.put(secret(theirs=CANARY))
    with pytest.raises(NeedsOperator) as one_key:
        store.get(REFERENCE)
    assert one_key.value.remedy.endswith(f": {MAKE} --from-file=some.key=FILE{PATCH}")
    assert CANARY not in str(one_key.value)


def test_one_line_adds_all_that_a_secret_lacks(fake: FakeCluster, store: ClusterSecrets) -> None:
    """A second `kubectl create` of the same Secret would fail."""
    absent = [REFERENCE, "secret:others/key", "secret:credentials/more"]
    ours, theirs = store.absences(absent)
    assert ours.problem == f"{REFERENCE}, secret:credentials/more are not there"
    both = f"{MAKE} --from-file=some.key=FILE --from-file=more=FILE"
    assert ours.remedy.endswith(f": {both}")
    assert "create secret generic others -n default --from-file=key=FILE" in theirs.remedy
    fake.put(secret(theirs=CANARY))
    ours, _ = store.absences(absent)
    assert ours.remedy.endswith(f": {both}{PATCH}")


def test_another_value_than_is_kept_is_told_with_the_line_that_replaces_it(
    fake: FakeCluster, store: ClusterSecrets
) -> None:
    fake.put(secret(**{"some.key": f"{CANARY}\n", "more": CANARY, "same": CANARY}))
    fake.requests.clear()
    given = {
        REFERENCE: SecretStr("new-canary"),
        "secret:credentials/more": SecretStr("new-canary"),
        "secret:credentials/same": SecretStr(CANARY),
        "secret:credentials/absent": SecretStr("new-canary"),
        "secret:nobodys/key": SecretStr("new-canary"),
    }
    [told] = store.kept_otherwise(given)
    assert told.startswith(f"{REFERENCE}, secret:credentials/more keep what the Secret holds")
    assert told.endswith(f": {MAKE} --from-file=some.key=FILE --from-file=more=FILE{PATCH}")
    assert "canary" not in told
    assert {it.verb for it in fake.requests} == {"get"}
    assert store.kept_otherwise({REFERENCE: SecretStr(CANARY)}) == []


def test_secrets_are_read_one_by_one(fake: FakeCluster, store: ClusterSecrets) -> None:
    store.put(REFERENCE, SecretStr("mine"))
    store.get(REFERENCE)
    assert "list" not in {it.verb for it in fake.requests}


@pytest.mark.parametrize("fault", ["down", "denied"])
def test_an_outage_and_a_missing_right_are_no_absence_and_repeat_no_value(
    fake: FakeCluster, store: ClusterSecrets, fault: str
) -> None:
    fake.down = fault == "down"
    fake.denied = {(verb, "secrets") for verb in ("get", "create", "patch")}
    for use in (lambda: store.find(REFERENCE), lambda: store.ensure(REFERENCE, SecretStr(CANARY))):
        with pytest.raises(Transient if fake.down else NeedsOperator) as met:
            use()
        assert CANARY not in "".join(traceback.format_exception(met.value))
