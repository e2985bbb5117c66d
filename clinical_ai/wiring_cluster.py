"""A platform in a cluster, for its flows and for bootstrap; and which platform a process is of."""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from clinical_ai import names
from clinical_ai.addresses import bypasses_proxy
from clinical_ai.change import Change, Note, unnoted
from clinical_ai.errors import ManyFaults, NeedsOperator
from clinical_ai.settings import Settings
from clinical_ai.wiring import Platform, open_platform, open_storage

if TYPE_CHECKING:
    from clinical_ai.adapters.vault_secrets import VaultSecrets
    from clinical_ai.deployment_plan import Wanted
    from clinical_ai.manifests.kubernetes.metadata import Manifest
    from clinical_ai.ports import Database, ObjectStore, PrefectApi, SecretStore
    from clinical_ai.ports_cluster import Cluster, Ref
    from clinical_ai.release import Release
    from clinical_ai.steps.cluster.inventory import Ownership
    from clinical_ai.steps.cluster.site import Site
    from clinical_ai.steps.progress import Tell
    from clinical_ai.steps.unresolved import Unresolved
    from clinical_ai.steps.verify import Result

log = logging.getLogger(__name__)

_MOUNT_SECONDS: Final = 150
RENDERED: Final = Path("/release/rendered.json")  # made when the image is built


@dataclass(frozen=True)
class ClusterPlatform:
    """One namespace's platform. `code`: where the release's flows are for this process.

    `release`: None for runs of the clinical worker, which apply none and are not told theirs.
    `has_place_for`: whether this process would be given that Secret when it comes to be.
    """

    cluster: "Cluster"
    secrets: "SecretStore"
    api: "PrefectApi"
    release: "Release | None"
    rendered: dict[str, Any]
    code: Path
    chosen: Settings | None = None
    has_place_for: "Callable[[str], bool]" = lambda _: True
    repair: ClassVar = names.DEPLOY_SELF

    @cached_property
    def settings(self) -> Settings:
        """Those that bootstrap was given; for flows the settings block, parsed."""
        from clinical_ai.steps.settings_block import get_settings

        return self.chosen or get_settings(self.api)

    @property
    def own_release(self) -> "Release":
        """The release that it applies."""
        if self.release is None:
            raise NeedsOperator("this pod is not told its release", "run deploy/self")
        return self.release

    @cached_property
    def database(self) -> "Database":
        """`cai_data`."""
        from clinical_ai.adapters.postgres import PostgresDatabase

        return PostgresDatabase(self.secrets.get(names.DATABASE_URL))

    @cached_property
    def prefect_database(self) -> "Database":
        """The schema `prefect`, read only to check its revision."""
        from clinical_ai.adapters.postgres import PostgresDatabase

        return PostgresDatabase(self.secrets.get(names.PREFECT_DATABASE_URL))

    @cached_property
    def storage(self) -> "ObjectStore":
        """S3, MinIO or the like; a cluster has no folder to share."""
        return open_storage(self.settings, self.secrets, None)

    @cached_property
    def wanted(self) -> "list[Wanted]":
        """The deployments of the release, deploy/self as often as the settings say."""
        from clinical_ai.deployment_plan import from_rendered, with_cron
        from clinical_ai.manifests.kubernetes.metadata import cluster_of

        cron = cluster_of(self.settings).drift_schedule
        found = [from_rendered(raw, "prefect.yaml") for raw in self.rendered["deployments"]]
        return [
            with_cron(each, names.DRIFT, cron) if each.full_name == names.DEPLOY_SELF else each
            for each in found
        ]

    def reading(
        self, files: Sequence[Path], environ: Mapping[str, str], steps: str = "refuse"
    ) -> "AbstractContextManager[Callable[[], list[Wanted]]]":
        """The deployments of these prefect.yaml files, or of the release when none is named."""
        if not files:
            return nullcontext(lambda: self.wanted)
        from clinical_ai.adapters.deployment_reader import reading

        server = (self.settings.prefect_api_url, _password(environ))
        return reading(files, environ, server=server, steps=steps)

    def unresolved(self) -> "list[Unresolved]":
        """Deployments of others whose flow, code, pool or queue is not there any more."""
        from clinical_ai.adapters.entrypoints import wrong_code
        from clinical_ai.steps.unresolved import find_unresolved

        return find_unresolved(
            self.api, frozenset([names.PRODUCT]), lambda row: wrong_code(row, self.code)
        )

    def pools(self) -> list[dict[str, Any]]:
        """Both work pools, as the settings want them."""
        from clinical_ai.manifests.kubernetes.pools import pools

        return pools(self.settings, self.own_release, self.rendered["job_template"])

    def check(self) -> None:
        """ManyFaults when a cluster can't run with the settings; nothing is changed.

        A Secret that settings name for the first time is not in this pod: what it mounts was
        decided before. The clinical worker's roll-out tells when the Secret or its key is absent.
        """
        remedy = "write secret:NAME/KEY"
        faults = [
            NeedsOperator(f"{key} is {reference}, which bootstrap alone reads", remedy)
            for key, reference in self.settings.references().items()
            if reference.startswith(("env:", "file:"))
        ]
        here, chosen = self.cluster.namespace, self.settings.kubernetes
        if chosen is None:
            faults.append(NeedsOperator("the settings name no cluster", "add kubernetes to them"))
        elif chosen.namespace != here:
            problem = f"kubernetes.namespace is {chosen.namespace}, and this platform is in {here}"
            remedy = f"write {here} there; `up` with settings of its own installs another platform"
            faults.append(NeedsOperator(problem, remedy))
        if faults:
            raise ManyFaults(faults)

    def _late(self) -> list[str]:
        """References of the storage that this pod does not mount, while one that begins now does.

        What has to be there when a pod begins is there all the time that it mounts it. What
        deploy/self brings back may still be on its way, to the place that this pod has for it.
        """
        from clinical_ai.manifests.kubernetes.credentials import storage

        absent = [each for each in storage(self.settings) if self.secrets.find(each) is None]
        return [each for each in absent if each not in self._synced or not self.has_place_for(each)]

    @property
    def _synced(self) -> list[str]:
        """References that deploy/self brings back when they are gone, by their ExternalSecret."""
        from clinical_ai.manifests.kubernetes.credentials import external, storage

        synced = self.settings.kubernetes is not None and external(self.settings)
        return storage(self.settings) if synced else []

    def last_change(self) -> str:
        """What outlived the last run; in a cluster a run sees its own change end."""
        return ""

    def verify(self) -> "list[Result]":
        """Every check, with its evidence; from inside the cluster."""
        from clinical_ai.steps.cluster.verify import verify_cluster

        return verify_cluster(self)

    def find_ui(self) -> str | None:
        """The title of the page that the UI serves, or None when it serves none."""
        from clinical_ai.adapters.web import find_title

        return find_title(self.settings.prefect_api_url.removesuffix("/api"))

    def references(self) -> list[str]:
        """References to the secrets that its runs need."""
        return _mounted(self.settings)

    @property
    def release_tag(self) -> str:
        """What the release is made of, as a hash."""
        return self.own_release.content

    @property
    def ui_url(self) -> str:
        """Where a browser finds Prefect: through the exposure, else a forwarded port."""
        from clinical_ai.manifests.kubernetes.exposure import find_address

        return find_address(self.settings) or f"http://localhost:{names.API_PORT}"

    @property
    def ui_way(self) -> str:
        """The command that forwards the port of `ui_url`; empty where an exposure leads there."""
        from clinical_ai.adapters.port_forward import by_hand
        from clinical_ai.manifests.kubernetes.exposure import find_address

        exposed = find_address(self.settings)
        return "" if exposed else by_hand(self.cluster.namespace, names.SERVER, names.API_PORT)

    @property
    def release_name(self) -> str:
        """What the ledger calls the release."""
        return f"{self.own_release.version} {self.own_release.image}"

    def record(self, entry: Mapping[str, Any]) -> None:
        """The ledger ends with this entry, unless it tells nothing new."""
        from clinical_ai.steps.cluster.healing import completed
        from clinical_ai.steps.cluster.records import Records
        from clinical_ai.steps.deploy_report import is_news

        records = Records(self.cluster, self.guard)
        whole = completed(entry, records, self.mark, heals=self._is_to_heal)
        if is_news(whole, records.read_ledger()):
            records.write_ledger(whole)

    @cached_property
    def mark(self) -> str:
        """Of all that is wanted, as records keep it."""
        from clinical_ai.steps.cluster.healing import mark_of

        return mark_of(self._objects, self.pools())

    @cached_property
    def stages(self) -> "dict[str, list[Manifest]]":
        """The objects that deploy/self keeps."""
        from clinical_ai.manifests.kubernetes.desired import stages

        return stages(self.settings, self.own_release)

    @property
    def _objects(self) -> "list[Manifest]":
        return [each for stage in self.stages.values() for each in stage]

    @cached_property
    def ownership(self) -> "Ownership":
        """How deploy/self knows its own objects."""
        from clinical_ai.steps.cluster.inventory import kept_by_deploy

        return kept_by_deploy(self.cluster, self.settings)

    @property
    def heals_drift(self) -> bool:
        """Whether the scheduled run mends what it finds."""
        return self._is_to_heal and not self.unhealed

    @property
    def _is_to_heal(self) -> bool:
        from clinical_ai.manifests.kubernetes.metadata import cluster_of

        return cluster_of(self.settings).drift == "heal"

    @property
    def unhealed(self) -> str:
        """Why the scheduled run mends nothing although the settings want it; else empty."""
        from clinical_ai.steps.cluster.healing import WAITS, waits
        from clinical_ai.steps.cluster.records import Records

        waiting = self._is_to_heal and waits(Records(self.cluster), self.mark)
        return WAITS if waiting else ""

    def guard(self) -> None:
        """Stopped while somebody has stopped self-management."""
        from clinical_ai.steps.cluster.break_glass import refuse_when_stopped

        refuse_when_stopped(self.cluster)

    @cached_property
    def managed(self) -> "PrefectApi":
        """Prefect's API for what the platform changes of itself: guarded before each write."""
        from clinical_ai.adapters.guarded_api import GuardedApi

        return GuardedApi(self.api, self.guard)

    def large_prune(self) -> "list[Ref]":
        """Objects that are wanted no more, when a person has to agree before so many go."""
        from clinical_ai.ports_cluster import Ref
        from clinical_ai.steps.cluster.inventory import large_prune, read_inventory
        from clinical_ai.steps.cluster.rights import blaming

        own = self.ownership
        wanted = map(Ref.of, self._objects)
        with blaming(self.rights()):
            return large_prune(self.cluster, read_inventory(self.cluster, own), wanted, own)

    def bring(
        self,
        who: str,
        *,
        write: bool,
        tell: "Tell",
        tidy: bool = False,
        run: str = "",
        note: Note = unnoted,
        agreed: "Sequence[Ref]" = (),
    ) -> list[Change]:
        """The namespace's objects are as wanted, in order, each workload up; or what differs.

        Objects that deploy/self may not write are looked at first: without its rights it is refused
        the others. `tidy`: what is left over goes, also where nothing else is written. `run`: id of
        the flow run that this is part of. `note`: see `Site`. `agreed`: what a person has said may
        go, however much that is; see `large_prune`.
        """
        from clinical_ai.steps.cluster.deploy import look
        from clinical_ai.steps.cluster.rights import blaming

        rights = self.rights()
        with blaming(rights):
            if write:
                own = replace(self.ownership, agreed=frozenset(agreed))
                site = replace(self.site(), ownership=own, tell=tell, run=run, note=note)
                changes = self._bring(who, site)
            else:
                changes = [*look(self.site(), self.stages)]
            return [*changes, *self._tidy(who, write=write or tidy), *rights]

    def _bring(self, who: str, site: "Site") -> list[Change]:
        from clinical_ai.manifests.kubernetes.migration import migration
        from clinical_ai.steps.cluster.break_glass import guarded
        from clinical_ai.steps.cluster.deploy import deploy
        from clinical_ai.steps.cluster.lease import cluster_lease

        with cluster_lease(self.cluster, who) as lease:
            site = replace(site, guard=guarded(self.cluster, lease.renew))
            with self._recording_failure(who):
                return deploy(site, self.stages, migration(self.settings, self.own_release))

    def _tidy(self, who: str, *, write: bool) -> list[Change]:
        from clinical_ai.manifests.kubernetes.metadata import cluster_of
        from clinical_ai.steps.cluster.housekeeping import tidy

        slots = not cluster_of(self.settings).lease_claim
        return tidy(self.cluster, self.managed, who, slots=slots, write=write)

    @contextmanager
    def _recording_failure(self, who: str) -> Iterator[None]:
        """The ledger tells of a change that was taken back, too. One that can't hides nothing.

        Not of one that runs, or a migration, did not end for: it may be tried again as it is, and
        healing goes on.
        """
        from clinical_ai.errors import PlatformError, StillRunning, TimedOut
        from clinical_ai.steps.cluster.rollout import RolloutFailed
        from clinical_ai.steps.deploy_report import failed_entry

        try:
            yield
        except StillRunning:
            raise
        except (RolloutFailed, TimedOut) as error:
            try:
                self.record(failed_entry(self.release_name, str(error), who))
            except PlatformError as fault:
                log.error("the ledger does not tell of it: %s", fault)  # noqa: TRY400
            raise

    def prove(self, changes: "Sequence[Change]") -> "list[Result]":
        """Every check of how it is now; without a canary run when nothing is new.

        New is also what was brought in a run that was killed before its proof. What passes is what
        a later undo restores, once a canary had room to fly. No history: one error of a server long
        before would fail each change after it.
        """
        from clinical_ai.steps.cluster.records import Records
        from clinical_ai.steps.cluster.verify import verify_cluster

        late = self._late()
        self._await_mounted(late)
        records = Records(self.cluster, self.guard)
        objects = self._objects
        proved = records.find_objects() == objects and records.find_mark() == self.mark
        new = not proved or any(each.wrote for each in changes)
        results = verify_cluster(self, fly=new, history=False, late=late)
        if not proved and all(each.passed and each.shown for each in results):
            records.write_objects(objects, self.mark)
        return results

    def _await_mounted(self, late: Sequence[str]) -> None:
        """A Secret that was made anew has reached this pod; the kubelet looks about each minute."""
        from clinical_ai.waiting import Sighting, wait_until

        def look() -> Sighting:
            missing = [each for each in self._synced if self.secrets.find(each) is None]
            absent = [each for each in missing if each not in late]
            return Sighting(not absent, f"{', '.join(absent)} not mounted")

        wait_until("the storage's credentials in this pod", look, seconds=_MOUNT_SECONDS)

    def site(self) -> "Site":
        """Where objects are deployed; whoever writes adds a guard."""
        from clinical_ai.steps.cluster.site import Site

        drain = self.settings.drain_seconds
        return Site(self.cluster, self.ownership, api=self.managed, drain_seconds=drain)

    def rights(self) -> list[Change]:
        """What differs of the objects that bootstrap keeps, with the command that heals it."""
        from clinical_ai.steps.cluster.rights import look_at_all

        return look_at_all(self.cluster, self.settings)


AnyPlatform = Platform | ClusterPlatform


def open_here(environ: Mapping[str, str] | None = None) -> AnyPlatform:
    """The platform that this process is part of: of the cluster in a pod, else of this machine."""
    environ = os.environ if environ is None else environ
    return open_in_pod(environ) if environ.get(names.NAMESPACE_VARIABLE) else open_platform()


def open_in_pod(environ: Mapping[str, str]) -> ClusterPlatform:
    """The platform whose pod this is."""
    from clinical_ai.adapters.kubernetes_api import open_kubernetes
    from clinical_ai.adapters.mounted_secrets import MountedSecrets
    from clinical_ai.adapters.pod_secrets import PodSecrets
    from clinical_ai.adapters.prefect_rest import PrefectRest

    rendered, space = read_rendered(RENDERED), environ[names.NAMESPACE_VARIABLE]
    mounted = MountedSecrets(Path(environ[names.SECRETS_VARIABLE]))
    opened = ClusterPlatform(
        cluster=open_kubernetes(environ, namespace=space),
        secrets=PodSecrets(mounted, lambda: open_vault(opened.settings, environ)),
        api=PrefectRest(environ.get("PREFECT_API_URL", ""), _password(environ), namespace=space),
        release=_told_release(environ, rendered),
        rendered=rendered,
        code=Path(names.IMAGE_CODE),
        has_place_for=mounted.has_place_for,
    )
    return opened


def _told_release(environ: Mapping[str, str], rendered: Mapping[str, Any]) -> "Release | None":
    image = environ.get(names.IMAGE_VARIABLE)
    return release_of(image, environ.get(names.CONTENT_VARIABLE, ""), rendered) if image else None


def open_vault(settings: Settings, environ: Mapping[str, str]) -> "VaultSecrets":
    """What runs of this pod may read of Vault, through the proxy that its environment names."""
    from clinical_ai.adapters.vault_secrets import VaultSecrets
    from clinical_ai.manifests.kubernetes.metadata import cluster_of

    access = cluster_of(settings).vault
    if access is None:
        remedy = "write secret:NAME/KEY, or in production give kubernetes.aws-credentials"
        raise NeedsOperator("the settings name no Vault", remedy)
    place = urlsplit(access.vault_address)
    proxy = environ.get(f"{place.scheme.upper()}_PROXY")
    if bypasses_proxy(place.hostname or "", environ.get("NO_PROXY")):
        proxy = None
    token = Path(names.VAULT_TOKEN)
    return VaultSecrets(access, token, ca_bundle=settings.ca_bundle, proxy=proxy)


@contextmanager
def reach_api(
    cluster: "Cluster", environ: Mapping[str, str], context: str = ""
) -> "Iterator[PrefectApi]":
    """Prefect's API from outside the cluster, through a port of this machine."""
    from clinical_ai.adapters.cluster_secrets import ClusterSecrets
    from clinical_ai.adapters.port_forward import forwarded
    from clinical_ai.adapters.prefect_rest import PrefectRest

    auth = ClusterSecrets(cluster).find(names.API_AUTH)
    place = (environ, cluster.namespace, names.SERVER, names.API_PORT)
    with forwarded(*place, context=context) as port:
        yield PrefectRest(f"http://127.0.0.1:{port}/api", auth, namespace=cluster.namespace)


def read_rendered(path: Path) -> dict[str, Any]:
    """What the release registers; made when the image was built."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        problem = f"{path} can't be read: {type(error).__name__}"
        raise NeedsOperator(problem, "build the image from this project's Dockerfile") from None
    return found


def release_of(image: str, content: str, rendered: Mapping[str, Any]) -> "Release":
    """The release of this image. NeedsOperator when a pod does not tell its own."""
    import platform

    from clinical_ai import __version__
    from clinical_ai.release import Release

    try:
        return Release(
            image=image,
            content=content,
            version=__version__,
            prefect=_prefect(),
            python=platform.python_version(),
            revision=rendered["revision"],
        )
    except ValueError as error:
        raise NeedsOperator(f"the release is not known: {error}", "run deploy/self's Job") from None


def _prefect() -> str:
    from importlib.metadata import version

    return version("prefect")


def _password(environ: Mapping[str, str]) -> SecretStr | None:
    found = environ.get("PREFECT_API_AUTH_STRING")
    return SecretStr(found) if found else None


def _mounted(settings: Settings) -> list[str]:
    """References that runs of the platform need; connections are the runs' own affair."""
    from clinical_ai.manifests.kubernetes.credentials import storage

    return [names.DATABASE_URL, names.PREFECT_DATABASE_URL, names.API_AUTH, *storage(settings)]
