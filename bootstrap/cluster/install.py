"""Day zero in a cluster as a runbook: checks, image, ground, server, Prefect, deploy/self."""

import json
import os
import socket
from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from secrets import token_bytes, token_hex
from typing import Any, Final

from pydantic import SecretStr

from bootstrap import wanted
from bootstrap.cluster import checks
from bootstrap.cluster.from_pod import check_beside, check_from_pod, is_left
from bootstrap.cluster.image import Found, ensure_release, look_for_release, render
from bootstrap.request import Request
from bootstrap.runs import demand, ensure_deployed, ensure_run, start_deploy
from bootstrap.terminal import Terminal, field_by_field
from clinical_ai import names
from clinical_ai.adapters.cluster_secrets import ClusterSecrets
from clinical_ai.adapters.guarded_api import GuardedApi
from clinical_ai.adapters.kubernetes_api import open_kubernetes
from clinical_ai.adapters.port_forward import by_hand, check_kubectl
from clinical_ai.change import Change, Did
from clinical_ai.errors import ManyFaults, NeedsOperator, Transient, all_found
from clinical_ai.manifests import orchestration
from clinical_ai.manifests.kubernetes import access, desired
from clinical_ai.manifests.kubernetes.exposure import find_address
from clinical_ai.manifests.kubernetes.metadata import cluster_of, ownership
from clinical_ai.manifests.kubernetes.migration import migration
from clinical_ai.manifests.kubernetes.pod_check import asks_vault
from clinical_ai.ports import PrefectApi
from clinical_ai.ports_cluster import Cluster, Object, Permission, Ref
from clinical_ai.release import Release
from clinical_ai.settings import Settings, parse
from clinical_ai.steps.cluster.break_glass import guarded, refuse_when_stopped
from clinical_ai.steps.cluster.deploy import deploy, look
from clinical_ai.steps.cluster.ensure import Guard, ensure_objects, free
from clinical_ai.steps.cluster.hold import finish_abandoned_hold
from clinical_ai.steps.cluster.inventory import Ownership, kept_by_deploy
from clinical_ai.steps.cluster.job import has_succeeded, watching
from clinical_ai.steps.cluster.lease import cluster_lease
from clinical_ai.steps.cluster.migrate import migrate
from clinical_ai.steps.cluster.reconcile import Reconciled, reconcile
from clinical_ai.steps.cluster.rights import (
    find_standing,
    is_kept_namespace,
    look_at_namespace,
)
from clinical_ai.steps.cluster.roll import is_up
from clinical_ai.steps.cluster.site import Site, Stages
from clinical_ai.steps.health import lacks_tables
from clinical_ai.steps.orchestration import ensure_automation, ensure_pools, job_templates
from clinical_ai.steps.registration import ensure_deployments
from clinical_ai.steps.runs import Run, follow_run, link, read_table
from clinical_ai.steps.settings_block import ensure_block_schema, find_settings, save_settings
from clinical_ai.steps.verify import from_rows, table
from clinical_ai.wiring_cluster import ClusterPlatform, reach_api

# What has to be there before Prefect's objects are; deploy/self keeps all of it from then on.
_FIRST: Final = ("configuration", "secrets", "network", "server")
_SECOND: Final = ("platform worker",)
_NOT_BUILT: Final = "not built yet:"
_SERVER: Final = Ref("apps/v1", "Deployment", names.SERVER)
_PLATFORM_WORKER: Final = Ref("apps/v1", "Deployment", names.PLATFORM_WORKER)
_VERIFY_SECONDS: Final = 300


@dataclass(frozen=True)
class Plan:
    """What is to be installed, and where. `missing`: why a reference to a secret has no value.

    `rendering`: what the release registers, once it is read from the checkout.
    """

    request: Request
    settings: Settings
    cluster: Cluster
    kept: Mapping[str, SecretStr]
    rendering: Callable[[], dict[str, Any]]
    missing: Mapping[str, NeedsOperator] = field(default_factory=dict)

    @property
    def secrets(self) -> ClusterSecrets:
        """Those of the namespace."""
        return ClusterSecrets(self.cluster)

    @property
    def rendered(self) -> dict[str, Any]:
        """What the release registers. NeedsOperator when its flows can't be read."""
        return self.rendering()

    @cached_property
    def found(self) -> Found:
        """The image as the registry has it; looked for once."""
        return look_for_release(self.request, self.settings, self.rendered)

    @cached_property
    def saved(self) -> Settings | None:
        """The settings block of a platform that is there, looked for once.

        None, too, while nobody can ask: what `up` brings up is asked later.
        """
        if self.cluster.find(_SERVER) is None:
            return None
        if self.settings.auth == "basic" and self.secrets.find(names.API_AUTH) is None:
            return None  # the password is made anew
        try:
            with reach_api(self.cluster, self.request.environ, self.request.context) as api:
                return find_settings(api)
        except Transient:
            return None  # its server is down


def run(request: Request, terminal: Terminal) -> int:
    """What the request asks for; flows are read beside the checks, by their own interpreter."""
    with ThreadPoolExecutor(max_workers=1) as beside:
        return _run(_plan(request, beside), terminal)


def _run(plan: Plan, terminal: Terminal) -> int:
    if plan.request.check:
        return _check(plan, terminal)
    _tell_checks(plan, terminal)
    return show_difference(plan, terminal) if plan.request.diff else up(plan, terminal)


def _check(plan: Plan, terminal: Terminal) -> int:
    """A stop is told beside all else: it keeps nobody from looking."""

    def look() -> str:
        _tell_checks(plan, terminal)
        check_only(plan, terminal)
        return ""

    all_found([look, lambda: _check_stop(plan)])
    return 0


def _tell_checks(plan: Plan, terminal: Terminal) -> None:
    terminal.line("checks", ", ".join(look_first(plan)))
    for told in plan.secrets.at_once().kept_otherwise(plan.kept):
        terminal.line("secrets", told)


def look_first(plan: Plan) -> list[str]:
    """What was found good; ManyFaults with all that stands in the way, here and in the cluster."""
    here = [
        lambda: _check_given(plan),
        lambda: _check_api(plan),
        lambda: plan.found.evidence,
    ]
    coming = {*plan.kept, *plan.missing}  # what is missing is told by itself
    return checks.check(plan.cluster, plan.settings, plan.secrets, coming, here)


def _check_given(plan: Plan) -> str:
    """Each value is given, as pods can use it."""
    ends = [
        NeedsOperator(f"the value for {each} ends with a line end", "give it without one")
        for each in checks.VARIABLES
        if each in plan.kept and plan.kept[each].get_secret_value().endswith("\n")
    ]
    if faults := [*plan.missing.values(), *ends]:
        raise ManyFaults(faults)
    return ""


def _check_api(plan: Plan) -> str:
    """kubectl reaches it; `--diff` is no less to be seen where settings differ."""
    told = check_kubectl(plan.request.environ)
    return told if plan.request.diff else told + _check_saved(plan)


def _check_saved(plan: Plan) -> str:
    """Settings are the saved ones, or replace them: a block that is there is the truth."""
    if not plan.request.replace and plan.saved is not None:
        wanted.refuse_difference(plan.request, plan.saved, plan.settings)
    return ""


def _check_stop(plan: Plan) -> str:
    """Nobody has stopped self-management."""
    refuse_when_stopped(plan.cluster)
    return ""


def up(plan: Plan, terminal: Terminal) -> int:
    """The platform runs in the namespace, is registered, and has applied its settings itself."""
    _check_stop(plan)
    release = ensure_release(plan.found, plan.rendered, terminal)
    terminal.step("image", plan.found.change)
    migrated = _is_migrated(plan, release)
    standing = find_standing(plan.cluster, plan.settings)
    lay_ground(plan, release, standing, terminal)
    with reach_api(plan.cluster, plan.request.environ, plan.request.context) as api:
        platform = _platform(plan, release, api)
        _migrate_anew(platform, terminal, before=migrated)
        platform, settled = settle(plan, platform)
        deployments = ensure_deployments(platform.managed, platform.wanted, "bootstrap")
        terminal.step("registration", settled, deployments)
        if plan.cluster.find(_PLATFORM_WORKER) is None:
            start_deploy(platform)  # its worker takes it as soon as it lives
        terminal.step("platform worker", _bring_rest(platform))
        deployed = ensure_deployed(
            platform, terminal, anew=_differs(platform), watch=watching(platform.cluster)
        )
        ensure_verified(platform, deployed, terminal)
    narrow_rights(plan, standing, terminal)
    _tell_where(plan, terminal)
    return 0


def lay_ground(plan: Plan, release: Release, standing: frozenset[str], terminal: Terminal) -> None:
    """Namespace, rights, Secrets and the server are as wanted, and the server is up.

    All under one lease, but for the namespace, in which that is: of two bootstraps the second
    changes none of these while the first does. When nothing differs, nothing is written, no lease
    either.
    """
    seen = _look_at_ground(plan, release, standing)
    if seen is not None:
        for what, changes in seen.items():
            terminal.step(what, changes)
        return
    if made := _ensure_namespace(plan):
        terminal.step("namespace", made)
    with cluster_lease(plan.cluster, _who()) as lease:
        guard = guarded(plan.cluster, lease.renew)
        _keep_rights(plan, guard, terminal)
        terminal.step("secrets", _ensure_secrets(plan, guard))
        terminal.step("server", _bring(plan, release, guard, terminal))


def narrow_rights(plan: Plan, before: frozenset[str], terminal: Terminal) -> None:
    """Those are gone that deploy/self needed for what it has pruned since `before`."""
    if find_standing(plan.cluster, plan.settings) >= before:
        return
    with cluster_lease(plan.cluster, _who()) as lease:
        guard = guarded(plan.cluster, lease.renew)
        _keep_rights(plan, guard, terminal)


def _look_at_ground(
    plan: Plan, release: Release, standing: frozenset[str]
) -> dict[str, Sequence[Change]] | None:
    """What was looked at, by step, when all of it is as wanted and up, else None.

    The check of a bootstrap that was killed is none of it, and is to be repeated.
    """
    if _find_namespace(plan) is None:
        return None
    secrets = plan.secrets.at_once()
    if is_left(plan.cluster) or any(secrets.find(each) is None for each in _to_keep(plan)):
        return None
    rights = _ensure_rights(plan, standing, write=False).changes
    server = _unchanged(plan.cluster, _ground(plan, release))
    if server is None or any(each.wrote for each in rights):
        return None
    return {"rights": rights, "secrets": [], "server": server}


def ensure_verified(platform: ClusterPlatform, deployed: Run, terminal: Terminal) -> None:
    """verify/platform has found all good after that run of deploy/self.

    NeedsOperator with its table otherwise; the next bootstrap verifies again then, and so it does
    when this one is killed before.
    """
    api = platform.managed
    run, new = ensure_run(platform, names.VERIFY, {}, f"verifies:{deployed.id}")
    if not new:
        terminal.line(names.VERIFY, "unchanged")
        return
    watch = watching(platform.cluster)
    run = follow_run(api, run.id, seconds=_VERIFY_SECONDS, tell=terminal.note, watch=watch)
    results = from_rows(read_table(api, run.id, "verify"))
    for line in table(results):
        terminal.plain(f"{'':10}{line}")
    demand(platform, run)
    terminal.line(names.VERIFY, f"{run.message}, {link(platform, run.id)}")


def check_only(plan: Plan, terminal: Terminal) -> int:
    """0 when nothing stands in the way; from a pod as well, once it has an image and a place."""
    release, would = plan.found.release, plan.found.change
    terminal.line("image", str(would) if release else f"{_NOT_BUILT} {would.what}")
    missing = _missing_for_a_pod(plan)
    if release is None or missing:
        what = (
            "database, storage and Vault" if asks_vault(plan.settings) else "database and storage"
        )
        terminal.line("from a pod", f"{what} are not tried: {'; '.join(missing)}")
        return 0
    for line in check_beside(plan.cluster, plan.settings, release, plan.kept):
        terminal.line("from a pod", line)
    return 0


def _missing_for_a_pod(plan: Plan) -> list[str]:
    """Each with what makes it."""
    space = plan.cluster.namespace
    missing = [] if plan.found.release else ["there is no image, which `up` builds"]
    if _find_namespace(plan) is None:
        missing.append(f"there is no namespace, which `kubectl create namespace {space}` makes")
    return missing


def show_difference(plan: Plan, terminal: Terminal) -> int:
    """What `up` would change among the objects, and why it is refused; writes nothing."""
    for fault in _refusing(plan):
        terminal.plain(f"`up` is refused: {fault}")
    release = plan.found.release
    if release is None:
        image = plan.found.change.what
        terminal.plain(f"{_NOT_BUILT} {image}; its digest, and so all workloads, would change")
        return 0
    stages = desired.stages(plan.settings, release)
    if _find_namespace(plan) is None:
        coming = [*_rights(plan, ()), *(each for stage in stages.values() for each in stage)]
        changes = [Change(str(Ref.of(each)), Did.CREATED) for each in coming]
    else:
        standing = find_standing(plan.cluster, plan.settings)
        rights = _ensure_rights(plan, standing, write=False)
        changes = [*rights.changes, *look(_site(plan), stages)]
    for change in changes:
        if change.wrote or change.left:
            terminal.plain(field_by_field(change))
    would = sum(change.wrote for change in changes)
    terminal.plain(f"{would} of {len(changes)} objects would change")
    return 0


def _refusing(plan: Plan) -> list[NeedsOperator]:
    """What stands in the way of `up`, and not of a look at what it would change."""
    try:
        all_found([lambda: _check_stop(plan), lambda: _check_saved(plan)])
    except ManyFaults as found:
        return found.faults
    return []


def settle(plan: Plan, platform: ClusterPlatform) -> tuple[ClusterPlatform, list[Change]]:
    """The settings block exists, from then on the truth; pools and automation are as it says.

    Other settings than the block's are refused, or replace it. Under the lease when something
    differs: two who made the same pool at once would be refused by Prefect.
    """
    platform, seen = _settle(plan, platform, platform.api, write=False)
    if not any(each.wrote for each in seen):
        return platform, seen
    with cluster_lease(platform.cluster, _who()) as lease:
        api = GuardedApi(platform.api, guarded(platform.cluster, lease.renew))
        return _settle(plan, platform, api, write=True)


def _plan(request: Request, beside: Executor) -> Plan:
    """The settings that were named, and the cluster that kubectl would speak to."""
    if request.raw is None:
        raise NeedsOperator("no settings are named", "give them with --settings FILE")
    namespace = cluster_of(parse(request.raw, origin=request.origin)).namespace
    cluster = open_kubernetes(request.environ, namespace=namespace, context=request.context)
    settings, kept, missing = wanted.look(request, ClusterSecrets(cluster).at_once().find)
    rendering = beside.submit(render, request.checkout).result
    return Plan(request, settings, cluster, kept, rendering, missing)


def _find_namespace(plan: Plan) -> Object | None:
    return plan.cluster.find(Ref("v1", "Namespace", plan.cluster.namespace))


def _ensure_namespace(plan: Plan) -> Sequence[Change]:
    """One that is not there is made."""
    if _find_namespace(plan) is not None:
        return []
    space = access.namespace(plan.settings)
    return ensure_objects(plan.cluster, [space], write=True, guard=guarded(plan.cluster))


def _keep_rights(plan: Plan, guard: Guard, terminal: Terminal) -> None:
    """They are as wanted; what of those before could not be deleted, or is kept, is told, too."""
    done = _ensure_rights(plan, find_standing(plan.cluster, plan.settings), guard)
    terminal.step("rights", done.changes)
    for fault in done.faults:
        terminal.line("rights", f"tried again by the next `up`: {fault}")


def _ensure_rights(
    plan: Plan, standing: Collection[str], guard: Guard = free, *, write: bool = True
) -> Reconciled:
    """Namespace, accounts and rights. One that is there is not labelled.

    One that bootstrap made is compared only, when this account may not patch it: rights in the
    namespace are enough to go on with what somebody with more of them began.
    """
    cluster, wanted = plan.cluster, _rights(plan, standing)
    patch = Permission("patch", "namespaces", name=cluster.namespace)
    spaces = [each for each in wanted if each["kind"] == "Namespace" and not cluster.may(patch)]
    others = [each for each in wanted if each not in spaces]
    kept = [Ref.of(each) for each in spaces]
    own = _rights_ownership(plan.settings)
    done = reconcile(cluster, others, own, write=write, guard=guard, kept=kept)
    compared = [change for each in spaces for change in look_at_namespace(cluster, each)]
    return replace(done, objects=[*compared, *done.objects])


def _rights(plan: Plan, standing: Collection[str]) -> list[dict[str, Any]]:
    found = _find_namespace(plan)
    ours = found is None or is_kept_namespace(plan.cluster, found)
    return desired.for_bootstrap(plan.settings, make_namespace=ours, standing=standing)


def _rights_ownership(settings: Settings) -> Ownership:
    """A list of its own: deploy/self has no right to prune what is in it."""
    chosen = cluster_of(settings)
    own = ownership(chosen.namespace, names.KEPT_BY_BOOTSTRAP)
    return Ownership(own, chosen.prune_limit, names.RIGHTS_INVENTORY)


def _ensure_secrets(plan: Plan, guard: Guard) -> list[Change]:
    """What `env:` and `file:` named is kept when absent; passwords and keys are made once."""
    changes = []
    for reference, value in _to_keep(plan).items():
        guard()
        changes.append(plan.secrets.ensure(reference, value))
    return changes


def _to_keep(plan: Plan) -> dict[str, SecretStr]:
    """Values for references that have none yet."""
    made = {
        names.ENCRYPTION_KEY: SecretStr(urlsafe_b64encode(token_bytes(32)).decode()),
        names.API_AUTH: SecretStr(f"admin:{token_hex(16)}"),
    }
    return {**plan.kept, **made}


def _ground(plan: Plan, release: Release) -> Stages:
    """What has to be there before Prefect's objects are."""
    every = desired.stages(plan.settings, release)
    return {name: every[name] for name in _FIRST}


def _bring(plan: Plan, release: Release, guard: Guard, terminal: Terminal) -> list[Change]:
    """The first stages are as wanted and up, the server last, once its database is reached.

    The pod that tries that comes after rights, Secrets and policies, on purpose: it finds what
    later pods find, below the policies that bind them, with what Vault gives to our account alone.
    What a failure leaves is nothing that runs, and the next bootstrap goes on from it. `--check`
    tries it with none of this, and leaves nothing. When none of these stages differs, no pod is
    started, but for the check of a bootstrap that was killed.
    """
    stages = dict(_ground(plan, release))
    seen = _unchanged(plan.cluster, stages)
    if seen is not None and not is_left(plan.cluster):
        return seen
    site, server = replace(_site(plan), guard=guard), {"server": stages.pop("server")}
    changes = deploy(site, stages, all_of_it=False)
    for line in check_from_pod(plan.cluster, plan.settings, release, site.guard):
        terminal.line("from a pod", line)
    last = migration(plan.settings, release)
    with _server_of_before(plan, guard, terminal) as api:
        return [*changes, *deploy(replace(site, api=api), server, last, all_of_it=False)]


@contextmanager
def _server_of_before(plan: Plan, guard: Guard, terminal: Terminal) -> Iterator[PrefectApi | None]:
    """The API of a server that is there, for pools to be held while it is replaced; guarded.

    None when it is not there or does not answer us: then nobody can hold them.
    """
    with ExitStack() as stack:
        api = None
        if plan.cluster.find(_SERVER) is not None:
            try:
                api = stack.enter_context(
                    reach_api(plan.cluster, plan.request.environ, plan.request.context)
                )
                api.get(f"/work_pools/{names.POOL}")
            except (NeedsOperator, Transient) as error:
                terminal.note(f"no pool is held should the server be replaced: {error}")
                api = None
        yield None if api is None else GuardedApi(api, guard)


def _is_migrated(plan: Plan, release: Release) -> bool:
    """Whether the migration of this release has succeeded already."""
    job = plan.cluster.find(Ref.of(migration(plan.settings, release)))
    return job is not None and has_succeeded(job)


def _migrate_anew(platform: ClusterPlatform, terminal: Terminal, *, before: bool) -> None:
    """Prefect's database is migrated once more when it is not the one that was migrated `before`.

    Asked of the server, without a pod: to Kubernetes all is up, and the migration has succeeded.
    Somebody has emptied the database, or restored what no bootstrap of this release has registered
    its image in, which comes after the migration: a backup of an older release. A pod alone could
    read the revision, so the migration itself is what looks. It changes nothing of a database that
    is as wanted, and refuses one of a newer release.
    """
    if not lacks_tables(platform.api) and not (before and _is_of_another_release(platform)):
        return
    job = migration(platform.settings, platform.own_release)
    with cluster_lease(platform.cluster, _who()) as lease:
        site = replace(platform.site(), guard=guarded(platform.cluster, lease.renew))
        terminal.step("database", migrate(site, job, anew=True))


def _is_of_another_release(platform: ClusterPlatform) -> bool:
    """Whether Prefect would start runs of the platform from another image, or from none."""
    templates = job_templates(platform.api, [names.PLATFORM_POOL])
    return platform.own_release.image not in json.dumps(templates)


def _bring_rest(platform: ClusterPlatform) -> list[Change]:
    """What deploy/self needs, its worker and an open pool; all else it brings itself."""
    finish_abandoned_hold(platform.cluster, platform.managed, _who())
    stages = {name: platform.stages[name] for name in _SECOND}
    if (seen := _unchanged(platform.cluster, stages)) is not None:
        return seen
    site = platform.site()
    with cluster_lease(platform.cluster, _who()) as lease:
        site = replace(site, guard=guarded(platform.cluster, lease.renew))
        return deploy(site, stages, all_of_it=False)


def _differs(platform: ClusterPlatform) -> bool:
    """Whether something that deploy/self keeps is not as it is wanted now; writes nothing.

    Its inventory, too: it may list what somebody deleted and nothing wants, or have been deleted.
    """
    wanted = [each for stage in platform.stages.values() for each in stage]
    seen = reconcile(platform.cluster, wanted, platform.ownership, write=False)
    return any(each.differs for each in seen.changes)


def _unchanged(cluster: Cluster, stages: Stages) -> list[Change] | None:
    """What was looked at when it is all as wanted and up, else None."""
    wanted = [each for stage in stages.values() for each in stage]
    seen = ensure_objects(cluster, wanted, write=False)
    if any(each.differs for each in seen):
        return None
    return list(seen) if all(is_up(cluster, Ref.of(each)) for each in wanted) else None


def _site(plan: Plan) -> Site:
    return Site(plan.cluster, kept_by_deploy(plan.cluster, plan.settings))


def _platform(plan: Plan, release: Release, api: PrefectApi) -> ClusterPlatform:
    return ClusterPlatform(
        cluster=plan.cluster,
        secrets=plan.secrets,
        api=api,
        release=release,
        rendered=plan.rendered,
        code=plan.request.checkout,
        chosen=plan.settings,
    )


def _settle(
    plan: Plan, platform: ClusterPlatform, api: PrefectApi, *, write: bool
) -> tuple[ClusterPlatform, list[Change]]:
    block = platform.rendered["block"]
    changes = [ensure_block_schema(api, block, write=write)]
    # What is to be replaced is not read: it may be wrong.
    saved = None if plan.request.replace else find_settings(api)
    if saved is None:
        changes.append(save_settings(api, plan.settings, block["checksum"], write=write))
    else:
        wanted.refuse_difference(plan.request, saved, plan.settings)
        platform = replace(platform, chosen=saved)
    zombies = ensure_automation(api, orchestration.zombie_automation(), write=write)
    return platform, [*changes, *ensure_pools(api, platform.pools(), write=write), zombies]


def _tell_where(plan: Plan, terminal: Terminal) -> None:
    terminal.plain("")
    if address := find_address(plan.settings):
        terminal.plain(f"Prefect UI   {address}")
    forward = by_hand(plan.cluster.namespace, names.SERVER, names.API_PORT)
    terminal.plain(f"reach it     {forward}, then http://localhost:{names.API_PORT}")
    if plan.settings.auth == "basic":
        secret, _, key = names.API_AUTH.removeprefix("secret:").partition("/")
        terminal.plain(f"password     in the Secret {secret}, key {key}")
    terminal.plain("next         deploy/self and verify/platform, in the UI")


def _who() -> str:
    return f"bootstrap on {socket.gethostname()}, process {os.getpid()}"
