"""What every Images promises, the fake included."""

import os
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from clinical_ai.adapters.docker_images import DockerImages
from clinical_ai.adapters.kubernetes_api import open_kubernetes
from clinical_ai.errors import NeedsOperator
from clinical_ai.ports import Images
from tests.support.cluster_site import REGISTRY
from tests.support.fakes import MemoryImages
from tests.support.real_cluster import kubeconfig

ABSENT = f"sha256:{'0' * 64}"


@pytest.fixture(params=["memory", "docker", pytest.param("real", marks=pytest.mark.cluster)])
def images(request: pytest.FixtureRequest) -> Images:
    """The real one is a daemon elsewhere, over TLS, with the registry of the cluster."""
    if request.param == "memory":
        return MemoryImages()
    request.getfixturevalue("docker" if request.param == "docker" else "docker_of_the_node")
    return DockerImages()


@pytest.fixture
def docker_of_the_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The daemon that the test cluster's node serves to those with a certificate."""
    state = Path(os.environ.get("CLUSTER_STATE", "/var/lib/test-cluster"))
    with closing(open_kubernetes(os.environ, kubeconfig=kubeconfig(), namespace="default")) as api:
        [node] = api.find_all("v1", "Node")
    addresses = {each["type"]: each["address"] for each in node["status"]["addresses"]}
    monkeypatch.setenv("DOCKER_HOST", f"tcp://{addresses['InternalIP']}:2376")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(state / "docker-client"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))  # nobody is logged in anywhere


@pytest.fixture
def repository() -> str:
    """Of this test alone."""
    return f"{REGISTRY}/hospital/contract-{uuid4().hex[:8]}"


def build(images: Images, folder: Path, repository: str) -> None:
    (folder / "Dockerfile").write_text(f"FROM scratch\nLABEL made={uuid4()}\n")
    images.build(folder, repository, "one", labels={}, arguments={}, host_network=False)


def test_what_a_registry_does_not_have_is_none(images: Images, repository: str) -> None:
    assert images.find_digest(f"{repository}:one") is None


def test_what_is_built_is_in_the_registry_once_it_is_pushed(
    images: Images, repository: str, tmp_path: Path
) -> None:
    build(images, tmp_path, repository)
    assert images.find_digest(f"{repository}:one") is None
    images.push(repository, "one")
    assert str(images.find_digest(f"{repository}:one")).startswith("sha256:")


def test_all_tags_of_a_push_stand_for_the_same_image(
    images: Images, repository: str, tmp_path: Path
) -> None:
    build(images, tmp_path, repository)
    images.push(repository, "one", ["v1", "latest"])
    assert len({images.find_digest(f"{repository}:{tag}") for tag in ("one", "v1", "latest")}) == 1
    assert images.find_digest(f"{repository}:v2") is None


def test_what_was_fetched_by_digest_is_pushed_under_other_tags(
    images: Images, repository: str, tmp_path: Path
) -> None:
    build(images, tmp_path, repository)
    images.push(repository, "one")
    digest = images.find_digest(f"{repository}:one")
    assert digest is not None
    build(images, tmp_path, repository)  # what has the tag here is another one meanwhile
    images.fetch(repository, digest, "one")
    images.push(repository, "one", ["v1"])
    assert images.find_digest(f"{repository}:v1") == digest


def test_what_is_not_there_is_neither_pushed_nor_fetched(images: Images, repository: str) -> None:
    with pytest.raises(NeedsOperator, match=f"{repository}:one"):
        images.push(repository, "one", ["v1"])
    with pytest.raises(NeedsOperator, match=f"{repository}@{ABSENT}"):
        images.fetch(repository, ABSENT, "one")
    assert images.find_digest(f"{repository}:v1") is None
