"""Settings to ports with their adapters: the only place that knows both."""

import os
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from clinical_ai import names
from clinical_ai.adapters.file_secrets import FileSecrets
from clinical_ai.change import Change, Did, Note
from clinical_ai.errors import ManyFaults, NeedsOperator
from clinical_ai.instance import Instance, document, find_instance, get_instance
from clinical_ai.manifests.processes import Place
from clinical_ai.ports import Database, ObjectStore, PrefectApi, Runtime, SecretStore
from clinical_ai.settings import Development, Production
from clinical_ai.state_folder import StateFolder

if TYPE_CHECKING:
    from clinical_ai.adapters.journal_file import StateFiles
    from clinical_ai.deployment_plan import Wanted
    from clinical_ai.ports_cluster import Ref
    from clinical_ai.steps.progress import Tell
    from clinical_ai.steps.unresolved import Unresolved
    from clinical_ai.steps.verify import Result


@dataclass(frozen=True)
class Platform:
    """One machine's platform; what needs a connection connects when it is first asked."""

    state: StateFolder
    instance: Instance

    repair: ClassVar = "`make up`"
    heals_drift: ClassVar = False
    unhealed: ClassVar = ""

    @cached_property
    def secrets(self) -> SecretStore:
        """The files of the state folder's `secrets/`."""
        return FileSecrets(self.state.secrets)

    @cached_property
    def api(self) -> PrefectApi:
        """Prefect of this platform, whatever the caller's own profile says."""
        from clinical_ai.adapters.prefect_rest import PrefectRest

        auth = self.secrets.get(names.API_AUTH) if self.instance.auth else None
        return PrefectRest(self.instance.api_url, auth, serves=self.serves)

    @cached_property
    def settings(self) -> Development | Production:
        """The settings block, parsed."""
        from clinical_ai.steps.settings_block import get_settings

        return get_settings(self.api)

    @cached_property
    def database(self) -> Database:
        """`cai_data`."""
        from clinical_ai.adapters.postgres import PostgresDatabase

        return PostgresDatabase(self.secrets.get(names.DATABASE_URL))

    @cached_property
    def prefect_database(self) -> Database:
        """The schema `prefect`, read only to check its revision."""
        from clinical_ai.adapters.postgres import PostgresDatabase

        return PostgresDatabase(self.secrets.get(names.PREFECT_DATABASE_URL))

    @cached_property
    def storage(self) -> ObjectStore:
        """S3, MinIO or, in development without an endpoint, a folder."""
        return open_storage(self.settings, self.secrets, self.state)

    @cached_property
    def runtime(self) -> Runtime:
        """The supervisor of this machine."""
        from clinical_ai.adapters.supervisor import SupervisorRuntime, owner_of

        return SupervisorRuntime(self.state, self.place.python, owner_of(self.state.run))

    @cached_property
    def rendered(self) -> dict[str, Any]:
        """What the release registers."""
        from clinical_ai.adapters.rendered import ensure_rendered
        from clinical_ai.adapters.supervisor import owner_of

        return ensure_rendered(self.place, owner_of(self.state.run))

    def unresolved(self) -> "list[Unresolved]":
        """Deployments of others whose flow, code, pool or queue is not there any more."""
        from clinical_ai.adapters.entrypoints import wrong_code
        from clinical_ai.steps.unresolved import find_unresolved

        code = Path(self.place.code)
        return find_unresolved(self.api, frozenset([names.PRODUCT]), lambda r: wrong_code(r, code))

    @cached_property
    def wanted(self) -> "list[Wanted]":
        """The deployments of the release."""
        from clinical_ai.deployment_plan import from_rendered

        return [from_rendered(raw, "prefect.yaml") for raw in self.rendered["deployments"]]

    def reading(
        self, files: Sequence[Path], environ: Mapping[str, str], steps: str = "refuse"
    ) -> "AbstractContextManager[Callable[[], list[Wanted]]]":
        """The deployments of these prefect.yaml files, or of the release when none is named.

        They are read beside what the block does. `environ` is what the files may refer to.
        """
        if not files:
            return nullcontext(lambda: self.wanted)
        from clinical_ai.adapters.deployment_reader import reading

        auth = self.secrets.get(names.API_AUTH) if self.instance.auth else None
        server = (self.instance.api_url, auth)
        return reading(files, environ, server=server, steps=steps)

    @cached_property
    def files(self) -> "StateFiles":
        """Journal, ledger and applied settings."""
        from clinical_ai.adapters.journal_file import StateFiles
        from clinical_ai.adapters.supervisor import owner_of

        return StateFiles(self.state, owner_of(self.state.run))

    def pools(self) -> list[dict[str, Any]]:
        """Both work pools, as the settings want them."""
        from clinical_ai.manifests.orchestration import pools

        return pools(self.settings, self.place, self.rendered["job_template"])

    def check(self) -> None:
        """ManyFaults when this machine can't run with the settings; nothing is changed."""
        self.refuse_faults(self.settings)

    def last_change(self) -> str:
        """What a restart that outlived its run has done, told once."""
        from clinical_ai.steps.self_deploy import report_last_roll

        return report_last_roll(self.files)

    def verify(self) -> "list[Result]":
        """Every check, with its evidence."""
        from clinical_ai.steps.verify import verify_platform

        return verify_platform(self)

    @property
    def release_tag(self) -> str:
        """What the release is made of, as a hash."""
        return self.instance.release

    @property
    def ui_url(self) -> str:
        """Where a browser finds Prefect."""
        return self.instance.ui_url

    @property
    def ui_way(self) -> str:
        """Nothing has to be forwarded on one machine."""
        return ""

    @property
    def release_name(self) -> str:
        """What the ledger calls the release."""
        return self.instance.release

    def record(self, entry: Mapping[str, Any]) -> None:
        """The ledger ends with this entry, unless it tells nothing new."""
        from clinical_ai.steps.deploy_report import is_news

        if is_news(entry, self.files.ledger()):
            self.files.write_ledger(entry)

    def guard(self) -> None:
        """Nobody stops changes on one machine: they are started by hand, or only report."""

    @property
    def managed(self) -> PrefectApi:
        """Prefect's API for what the platform changes of itself."""
        return self.api

    def large_prune(self) -> "list[Ref]":
        """Nothing is pruned on one machine."""
        return []

    def prove(self, _changes: "Sequence[Change]") -> "list[Result]":
        """Nothing yet: a roll begins when its run has ended."""
        return []

    def bring(
        self,
        _who: str,
        *,
        write: bool,
        tell: "Tell",  # noqa: ARG002
        tidy: bool,  # noqa: ARG002
        run: str,  # noqa: ARG002
        note: Note,  # noqa: ARG002
        agreed: "Sequence[Ref]" = (),  # noqa: ARG002
    ) -> list[Change]:
        """Processes run with the settings; what a run stands on is left to a detached roll."""
        from clinical_ai.manifests.processes import processes
        from clinical_ai.steps.self_deploy import hand_over

        specs = processes(self.settings, self.place)
        if not write:
            return self.runtime.plan(specs)
        return hand_over(self.runtime, self.files, specs)

    def moved(self, settings: Development | Production) -> "Platform":
        """The same platform as these settings make it reachable."""
        changed = {"api_url": settings.prefect_api_url, "auth": settings.auth == "basic"}
        return Platform(self.state, self.instance.model_copy(update=changed))

    def serves(self) -> bool:
        """Whether what listens at the address of the API is a process of this platform."""
        from clinical_ai.adapters.listeners import listens, port_of

        return listens(self.state.root, port_of(self.instance.api_url))

    def refuse_faults(self, settings: Development | Production, kept: Container[str] = ()) -> None:
        """ManyFaults when this machine can't run with these settings; nothing is changed.

        `kept`: references to secrets that are about to exist.
        """
        from clinical_ai.adapters.listeners import check_port
        from clinical_ai.steps.settings_check import settings_faults

        faults = settings_faults(settings, self.secrets, kept)
        try:
            check_port(settings.prefect_api_url, self.state.root, self.instance.inner_ports)
        except NeedsOperator as fault:
            faults.append(fault)
        if faults:
            raise ManyFaults(faults)

    def write_instance(self) -> Change:
        """Everybody who opens this platform from now on finds it here."""
        from clinical_ai.adapters.files import write_atomically
        from clinical_ai.adapters.supervisor import owner_of

        found = find_instance(self.state)
        if found == self.instance:
            return Change("instance", Did.UNCHANGED)
        text, owner = document(self.instance), owner_of(self.state.run)
        write_atomically(self.state.instance, text, owner)
        return Change("instance", Did.UPDATED if found else Did.CREATED)

    def living_runs(self) -> set[str]:
        """Ids of the flow runs that have a living process on this machine."""
        return running_flow_runs(self.state.root)

    def worker_answers(self, name: str) -> bool:
        """Whether the health check of the worker with this name says that it polls."""
        from clinical_ai.adapters.web import answers

        port = {
            names.WORKER: self.instance.worker_health_port,
            names.PLATFORM_WORKER: self.instance.platform_worker_health_port,
        }[name]
        return answers(f"http://127.0.0.1:{port}/health")

    def find_ui(self) -> str | None:
        """The title of the page that the UI serves, or None when it serves none."""
        from clinical_ai.adapters.web import find_title

        return find_title(self.instance.ui_url)

    def versions(self) -> dict[str, str]:
        """Versions inside the release."""
        from clinical_ai.adapters.local_release import find_versions

        return find_versions(self.place.release)

    @cached_property
    def place(self) -> Place:
        """Where the processes stand."""
        return place_of(self.state, self.instance)


def open_platform(root: Path | None = None) -> Platform:
    """The platform in this state folder, by default the one that CLINICAL_AI_STATE names."""
    state = StateFolder(root or _state_from_environment())
    return Platform(state, get_instance(state))


def open_api(root: Path) -> PrefectApi:
    """Only the API of the platform in this state folder."""
    return open_platform(root).api


def open_storage(
    settings: Development | Production, secrets: SecretStore, state: StateFolder | None
) -> ObjectStore:
    """The object store that the settings choose; `state` is None where no folder is shared."""
    if isinstance(settings, Development) and settings.minio_endpoint is None:
        if state is None:
            raise NeedsOperator("minio-endpoint is missing", "give the address of an S3 server")
        from clinical_ai.adapters.folder_storage import FolderStore

        return FolderStore(state.storage)
    from clinical_ai.adapters.s3 import open_s3

    return open_s3(settings, secrets)


def place_of(state: StateFolder, instance: Instance) -> Place:
    """Folders and ports of the release that runs."""
    from clinical_ai.adapters.local_postgres import programs

    return Place(
        state=state,
        release=state.releases / instance.release,
        postgres=programs(state),
        database_port=instance.database_port,
        worker_health_port=instance.worker_health_port,
        platform_worker_health_port=instance.platform_worker_health_port,
    )


def running_flow_runs(root: Path) -> set[str]:
    """Ids of the flow runs that have a living process on this machine."""
    from clinical_ai.adapters.orphans import flow_runs_of

    return flow_runs_of(root)


def _state_from_environment() -> Path:
    folder = os.environ.get(names.STATE_VARIABLE)
    if not folder:
        raise NeedsOperator(
            "which platform is meant is not known",
            f"set {names.STATE_VARIABLE}, as `clinical-ai env` does",
        )
    return Path(folder)
