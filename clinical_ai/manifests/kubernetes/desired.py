"""Everything that one platform has in a cluster, in the order in which it is applied."""

from collections.abc import Collection

from clinical_ai.manifests.kubernetes import (
    access,
    configuration,
    credentials,
    exposure,
    network,
    server,
    workers,
)
from clinical_ai.manifests.kubernetes.metadata import Manifest
from clinical_ai.release import Release
from clinical_ai.settings import Settings


def for_bootstrap(
    settings: Settings, *, make_namespace: bool, standing: Collection[str] = ()
) -> list[Manifest]:
    """What needs rights that deploy/self lacks. A namespace that is there is left as it is.

    `standing`: see `access.rights`.
    """
    return [
        *([access.namespace(settings)] if make_namespace else []),
        *access.accounts(settings),
        *access.rights(settings, standing),
    ]


def for_deploy(settings: Settings, release: Release) -> list[Manifest]:
    """What deploy/self keeps."""
    return [each for stage in stages(settings, release).values() for each in stage]


def stages(settings: Settings, release: Release) -> dict[str, list[Manifest]]:
    """The same by stage; each is ready before the next one begins.

    The platform worker comes before the clinical one: the run that replaces both goes through it.
    """
    return {
        "configuration": [configuration.config_map(settings)],
        "secrets": credentials.external_secrets(settings),
        "network": network.policies(settings),
        "server": server.server(settings, release),
        "exposure": exposure.exposure(settings),
        "platform worker": workers.platform_worker(settings, release),
        "worker": workers.worker(settings, release),
    }
