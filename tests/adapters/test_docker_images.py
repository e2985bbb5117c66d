"""What Docker and a registry refuse is told as ours; builds say what they do, and to whom."""

import json
import os
import re
from pathlib import Path

import pytest

from clinical_ai.adapters.docker_images import DockerImages
from clinical_ai.errors import NeedsOperator, PlatformError, Transient
from tests.support.certificates import Authority
from tests.support.fake_docker import FakeDocker

REPOSITORY = "registry.test:5000/hospital/platform"
DENIED = "denied: requested access to the resource is denied"
STEP = "The command '/bin/sh -c exit 3' returned a non-zero code: 3"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "checkout"
    made.mkdir()
    (made / "Dockerfile").write_text("FROM scratch\n")
    return made


def build(images: DockerImages, folder: Path, *, host_network: bool = False) -> None:
    labels, arguments = {"a.test/label": "x"}, {"BASE": "mirror.test/python:3.13"}
    images.build(
        folder, REPOSITORY, "one", labels=labels, arguments=arguments, host_network=host_network
    )


def test_a_build_gets_arguments_labels_and_the_network_that_is_asked_for(
    docker: FakeDocker, folder: Path
) -> None:
    build(DockerImages(), folder)
    build(DockerImages(), folder, host_network=True)
    plain, host = docker.built
    assert json.loads(plain["buildargs"]) == {"BASE": "mirror.test/python:3.13"}
    assert json.loads(plain["labels"])["a.test/label"] == "x"
    assert (plain.get("networkmode"), host["networkmode"]) == (None, "host")


def test_docker_over_tls_is_trusted_by_its_own_authority_whatever_others_trust(
    docker_over_tls: FakeDocker, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    bundle = str(Authority(other).certificate)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)
    monkeypatch.setenv("CURL_CA_BUNDLE", bundle)
    images = DockerImages()
    assert images.version() == "28.1.0"
    assert images.find_digest(f"{REPOSITORY}:one") is None
    build(images, folder)
    images.push(REPOSITORY, "one")
    assert images.find_digest(f"{REPOSITORY}:one") is not None
    assert os.environ["REQUESTS_CA_BUNDLE"] == os.environ["CURL_CA_BUNDLE"] == bundle


def test_docker_over_tls_of_another_authority_is_not_trusted(
    docker_over_tls: FakeDocker, folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    ca = tmp_path / "certificates" / "ca.pem"
    ca.write_bytes(Authority(other).certificate.read_bytes())
    with pytest.raises(NeedsOperator, match="CERTIFICATE_VERIFY_FAILED"):
        DockerImages().version()


def test_lines_of_a_build_and_a_push_go_to_whoever_is_told_and_not_to_standard_output(
    docker: FakeDocker, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []
    images = DockerImages(told.append)
    build(images, folder)
    images.push(REPOSITORY, "one")
    assert told == ["Step 1/2 : FROM base", "Pushed [=>]"]
    assert capsys.readouterr().out == ""


def test_whoever_is_told_may_write_to_standard_output(
    docker: FakeDocker, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(DockerImages(print), folder)
    assert capsys.readouterr().out == "Step 1/2 : FROM base\n"


@pytest.mark.parametrize("code", [200, 400, 403, 500])
@pytest.mark.parametrize("message", [STEP, DENIED])
def test_a_build_that_fails_is_told_with_dockers_reason(
    docker: FakeDocker, folder: Path, code: int, message: str
) -> None:
    docker.failing["build"] = code, message
    with pytest.raises(NeedsOperator, match=f"can't be built: {re.escape(message)}") as refused:
        build(DockerImages(), folder)
    assert "Dockerfile" in refused.value.remedy


@pytest.mark.parametrize(
    ("code", "message", "expected", "told"),
    [
        (500, "dial tcp: lookup registry.test: no such host", Transient, "does not answer"),
        (500, f"unauthorized: {DENIED}", NeedsOperator, "docker login registry.test:5000"),
        (403, DENIED, NeedsOperator, "docker login registry.test:5000"),
        (400, "invalid reference format", NeedsOperator, "invalid reference format"),
    ],
)
@pytest.mark.parametrize("kind", ["distribution", "push", "create"])
def test_what_is_refused_is_told_apart_from_an_outage(
    docker: FakeDocker,
    folder: Path,
    kind: str,
    code: int,
    message: str,
    expected: type[PlatformError],
    told: str,
) -> None:
    images = DockerImages()
    build(images, folder)
    docker.failing[kind] = code, message
    with pytest.raises(expected, match=told):
        {
            "distribution": lambda: images.find_digest(f"{REPOSITORY}:one"),
            "push": lambda: images.push(REPOSITORY, "one"),
            "create": lambda: images.fetch(REPOSITORY, f"sha256:{'0' * 64}", "one"),
        }[kind]()


def test_a_push_that_is_refused_halfway_is_told_with_the_login(
    docker: FakeDocker, folder: Path
) -> None:
    images = DockerImages()
    build(images, folder)
    docker.failing["push"] = 200, DENIED
    with pytest.raises(NeedsOperator, match="registry refuses") as refused:
        images.push(REPOSITORY, "one")
    assert refused.value.remedy == "docker login registry.test:5000"


def test_without_docker_it_is_told_what_else_there_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(NeedsOperator, match="Docker does not answer") as refused:
        DockerImages().find_digest(f"{REPOSITORY}:one")
    assert "--image" in refused.value.remedy


def test_its_version_is_dockers(docker: FakeDocker) -> None:
    assert DockerImages().version() == "28.1.0"
