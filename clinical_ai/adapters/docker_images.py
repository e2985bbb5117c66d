"""Images of a registry, through Docker: built and pushed by prefect-docker's own steps.

Docker is found as its own command line finds it: `DOCKER_HOST` and, over TLS,
`DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH`.
"""

import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clinical_ai.errors import NeedsOperator, PlatformError, Transient

if TYPE_CHECKING:
    from docker import DockerClient

_SECONDS: Final = 1800  # between two words of a build; the layer with the packages says none
_BUNDLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_REFUSED: Final = ("denied", "unauthorized", "authentication required", "forbidden")


class DockerImages:
    """Docker on this machine or another one; `told` gets each line of a build."""

    def __init__(self, told: Callable[[str], None] = lambda _line: None) -> None:
        self._told = told

    @cached_property
    def _client(self) -> "DockerClient":
        import docker
        from docker.errors import DockerException

        try:
            with _its_authority():
                client = docker.from_env(timeout=_SECONDS)
                client.ping()
        except DockerException as error:
            raise NeedsOperator(
                f"Docker does not answer ({_reason(error)})",
                "start it, or set DOCKER_HOST (with DOCKER_TLS_VERIFY and DOCKER_CERT_PATH); "
                "without Docker name an image that is pushed already with --image",
            ) from None
        return client

    def version(self) -> str:
        """Docker's version."""
        with _its_authority():
            return str(self._client.version()["Version"])

    def find_digest(self, reference: str) -> str | None:
        """`sha256:...` of what the registry has under this reference; None when it has nothing."""
        from docker.errors import NotFound

        client = self._client
        with _translated(reference):
            try:
                found: str | None = client.images.get_registry_data(reference).id
            except NotFound:
                found = None
        return found

    def build(
        self,
        folder: Path,
        repository: str,
        tag: str,
        *,
        labels: Mapping[str, str],
        arguments: Mapping[str, str],
        host_network: bool,
    ) -> None:
        """The image of the Dockerfile in the folder has this tag here."""
        from prefect.utilities.dockerutils import BuildError
        from prefect_docker.deployments.steps import build_docker_image

        options: dict[str, Any] = {"network_mode": "host"} if host_network else {}
        with _translated(f"{repository}:{tag}"), redirect_stdout(_Lines(self._told)):
            try:
                build_docker_image(
                    image_name=repository,
                    dockerfile="Dockerfile",
                    tag=tag,
                    ignore_cache=True,  # of Prefect's steps; Docker's own layers are used
                    path=str(folder),
                    buildargs=dict(arguments),
                    labels=dict(labels),
                    rm=True,
                    forcerm=True,
                    pull=False,
                    **options,
                )
            except BuildError as error:
                raise NeedsOperator(
                    f"the image {repository}:{tag} can't be built: {_reason(error)}",
                    "see the lines above: a command of the Dockerfile failed, or Docker can't get "
                    "the image that it begins with",
                ) from None

    def fetch(self, repository: str, digest: str, tag: str) -> None:
        """What the registry has under this digest has this tag here."""
        with _translated(f"{repository}@{digest}"):
            self._client.images.pull(f"{repository}@{digest}").tag(repository, tag)

    def push(self, repository: str, tag: str, others: Sequence[str] = ()) -> None:
        """What has this tag here is in the registry, under the other tags as well."""
        from prefect_docker.deployments.steps import push_docker_image

        with _translated(f"{repository}:{tag}"), redirect_stdout(_Lines(self._told)):
            image = self._client.images.get(f"{repository}:{tag}")
            for other in others:
                image.tag(repository, other)
            for each in (tag, *others):
                push_docker_image(image_name=repository, tag=each, ignore_cache=True)


@contextmanager
def _its_authority() -> Iterator[None]:
    """Docker over TLS is trusted by the authority of DOCKER_CERT_PATH alone.

    Its client is made of `requests`, which prefers the bundle that these variables name.
    """
    named = _BUNDLES if os.environ.get("DOCKER_TLS_VERIFY") else ()
    kept = {name: os.environ.pop(name) for name in named if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Docker's refusals as ours; its words name layers, addresses and rights, and no secret."""
    from docker.errors import DockerException

    try:
        with _its_authority():
            yield
    except RuntimeError as error:  # as which Prefect's client passes on what Docker's raises
        if not isinstance(error.__cause__, DockerException):
            raise
        raise _of_docker(what, error.__cause__) from None
    except (DockerException, OSError) as error:
        raise _of_docker(what, error) from None


def _of_docker(what: str, error: Exception) -> PlatformError:
    from docker.errors import APIError

    server = error.is_server_error() if isinstance(error, APIError) else True
    return _of_registry(what, _reason(error), server=server)


def _of_registry(what: str, reason: str, *, server: bool) -> PlatformError:
    if any(word in reason.lower() for word in _REFUSED):
        host = what.partition("/")[0]
        return NeedsOperator(f"the registry refuses {what}: {reason}", f"docker login {host}")
    if server:
        return Transient(f"the registry of {what} does not answer: {reason}")
    return NeedsOperator(f"Docker refuses {what}: {reason}", "correct the name")


def _reason(error: Exception) -> str:
    words = str(getattr(error, "explanation", None) or getattr(error, "msg", None) or error)
    return f"{' '.join(words.split()):.300}" or type(error).__name__


class _Lines(io.TextIOBase):
    """Standard output of prefect-docker by line; whoever is told may write to the real one."""

    def __init__(self, told: Callable[[str], None]) -> None:
        self._told = told
        self._rest = ""
        self._real = sys.stdout

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if line.strip():
                with redirect_stdout(self._real):
                    self._told(line.strip())
        return len(text)
