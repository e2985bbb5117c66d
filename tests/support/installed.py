"""A platform that stands in a namespace of a cluster in memory, as bootstrap would leave it."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import repeat
from typing import Any, Final

import pytest

from clinical_ai import names
from clinical_ai.manifests.kubernetes import credentials, desired
from clinical_ai.manifests.kubernetes.metadata import ownership
from clinical_ai.manifests.kubernetes.migration import migration
from clinical_ai.ports_cluster import Object
from clinical_ai.settings import Settings, dump
from clinical_ai.steps.cluster.deploy import deploy
from clinical_ai.steps.cluster.inventory import Ownership
from clinical_ai.steps.cluster.reconcile import reconcile
from clinical_ai.steps.cluster.site import Site
from clinical_ai.wiring_cluster import ClusterPlatform
from tests.support.clock import Clock
from tests.support.deploying import BROKEN, GOOD, Namespace, each_of
from tests.support.fake_cluster import FakeCluster
from tests.support.fake_objects import Objects
from tests.support.fakes import MemorySecrets
from tests.support.kubernetes_examples import RELEASE, TEMPLATE, settings_of
from tests.support.objects import secret
from tests.support.platform import CHECKOUT

SPACE: Final = names.NAMESPACE
_INSTALLED: Final[dict[str, Objects]] = {}  # by settings and what is deployed
_MORE_KINDS: Final = {
    "external-secrets.io/v1": ("SecretStore", "ExternalSecret"),
    "discovery.k8s.io/v1": ("EndpointSlice",),
}


class Installed(Namespace):
    """A namespace in which a platform is, or is about to be. `broken`: what does not come up."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.fake = FakeCluster()
        for version, kinds in _MORE_KINDS.items():
            for kind in kinds:
                self.fake.serve(version, kind, f"{kind.lower()}s")
        self.cluster = self.fake.open(SPACE)
        self.secrets = MemorySecrets()
        self.rendered: dict[str, Any] = {
            "revision": RELEASE.revision,
            "deployments": [],
            "job_template": TEMPLATE,
        }
        self.broken: set[str] = set()

    @property
    def stages(self) -> dict[str, list[Object]]:
        """The objects that deploy/self keeps."""
        return desired.stages(self.settings, RELEASE)

    def behaviour(self, found: Object) -> str:
        name = found["metadata"]["name"]
        return BROKEN if any(name.startswith(each) for each in self.broken) else GOOD

    def install(self) -> None:
        """What bootstrap and the first deploy/self leave; done once where it is the same."""
        if self.there():
            self._install()
            return
        same = self.settings.model_dump_json() + json.dumps(self.rendered, sort_keys=True)
        if same not in _INSTALLED:
            self._install()
            _INSTALLED[same] = self.fake.objects.copy()
        self.fake.objects = _INSTALLED[same].copy()

    def _install(self) -> None:
        own = ownership(SPACE, names.KEPT_BY_BOOTSTRAP)
        rights = desired.for_bootstrap(self.settings, make_namespace=True)
        reconcile(self.cluster, rights, Ownership(own, 9, names.RIGHTS_INVENTORY), write=True)
        site = Site(self.cluster, Ownership(ownership(SPACE), 9), lambda: None)
        deploy(site, self.stages, migration(self.settings, RELEASE))
        self.records.write_objects(each_of(self.stages), self.platform().mark)

    def platform(self, **more: Any) -> ClusterPlatform:
        """It, as its own runs open it."""
        made = ClusterPlatform(
            cluster=self.cluster,
            secrets=self.secrets,
            api=self.prefect,
            release=RELEASE,
            rendered=self.rendered,
            code=CHECKOUT,
            chosen=self.settings,
        )
        return replace(made, **more)

    def save_settings(self) -> None:
        """The block says what its settings are."""
        kind = self.prefect.post("/block_types/", {"slug": names.SETTINGS_BLOCK_TYPE})["id"]
        data = {key.replace("-", "_"): value for key, value in dump(self.settings).items()}
        row = {"name": names.SETTINGS_BLOCK, "block_type_id": kind, "data": data}
        self.prefect.post("/block_documents/", row)

    def keep_secrets(self) -> None:
        """Bootstrap and its operator have made those that pods and settings name."""
        for name, keys in credentials.known(self.settings).items():
            made = secret(name, **dict.fromkeys(keys, "not-secret-of-a-test"))
            made["metadata"]["namespace"] = SPACE
            self.fake.put(made)

    def there(self) -> set[tuple[str, str]]:
        """Kinds and names of all objects of the namespace."""
        return {(kind, name) for _, kind, space, name in self.fake.objects.all if space == SPACE}

    def put(self, kind: str, name: str, api_version: str = "v1", **body: Any) -> Object:
        """Somebody makes an object."""
        labels = body.pop("labels", {})
        about = {"name": name, "namespace": SPACE, "labels": labels, **body.pop("about", {})}
        return self.fake.put({"apiVersion": api_version, "kind": kind, "metadata": about, **body})


Prepare = Callable[[str], Installed]


@pytest.fixture
def prepare(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Prepare:
    """An empty cluster for settings of that name; its controllers work while the test waits."""
    monkeypatch.setattr("clinical_ai.steps.cluster.rollout.monotonic", lambda: clock.now)

    def make(settings: str) -> Installed:
        made = Installed(settings_of(settings))
        clock.then = repeat(made.controllers)
        return made

    return make


@pytest.fixture
def installed(prepare: Prepare) -> Installed:
    """A small platform that is up."""
    made = prepare("development")
    made.install()
    return made
