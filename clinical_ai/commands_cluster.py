"""What the commands of `clinical-ai` do with a platform in a cluster."""

import argparse
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from bootstrap.terminal import Terminal
from clinical_ai import names
from clinical_ai.adapters.change_lock import who
from clinical_ai.adapters.guarded_api import GuardedApi
from clinical_ai.adapters.kubernetes_api import open_kubernetes
from clinical_ai.change import Change, Did
from clinical_ai.commands import follow_deploy, show
from clinical_ai.errors import NeedsOperator
from clinical_ai.ports_cluster import Cluster, Ref
from clinical_ai.steps.cluster.break_glass import guarded, refuse_when_stopped, resume, stop
from clinical_ai.steps.cluster.hold import finish_abandoned_hold
from clinical_ai.steps.cluster.job import watching
from clinical_ai.steps.cluster.lease import LEASE, cluster_lease, remove_lease
from clinical_ai.wiring_cluster import reach_api

_SECONDS: Final = 1800


def status(options: argparse.Namespace, environ: Mapping[str, str], terminal: Terminal) -> int:
    """Release, replicas, drift, break-glass, lease, last runs; 1 when something is not up."""
    from clinical_ai.steps.cluster.status import see, table

    cluster = _open(options, environ)
    seen = see(cluster, lambda: reach_api(cluster, environ, options.context))
    show(seen, table(seen), terminal, as_json=options.json)
    return 0 if seen["healthy"] else 1


def verify(options: argparse.Namespace, environ: Mapping[str, str], terminal: Terminal) -> int:
    """A run of verify/platform, which looks from inside; its table. 1 when a check fails.

    And the Secrets, at which only a person may look.
    """
    from clinical_ai.steps import verify as checks
    from clinical_ai.steps.cluster.needed_secrets import check_secrets
    from clinical_ai.steps.cluster.status import known_settings
    from clinical_ai.steps.runs import read_table, run_to_end

    tell, cluster = None if options.json else terminal.note, _open(options, environ)
    with reach_api(cluster, environ, options.context) as api:
        run = run_to_end(
            api, names.VERIFY, {}, seconds=_SECONDS, tell=tell, watch=watching(cluster)
        )
        rows = read_table(api, run.id, "verify")
        look = partial(check_secrets, cluster, known_settings(api))
        own = checks.run("secrets present", look, names.DEPLOY_SELF)
    if not rows:
        raise NeedsOperator(
            f"run {run.name} ended {run.state.lower()} without a table: {run.message}",
            "read its log in the UI",
        )
    rows += checks.as_rows([own])
    results = checks.from_rows(rows)
    show(rows, checks.table(results), terminal, as_json=options.json)
    return 0 if all(result.passed for result in results) else 1


def deploy(options: argparse.Namespace, environ: Mapping[str, str], terminal: Terminal) -> int:
    """A run of deploy/self, followed to its end; 1 when it does not complete."""
    cluster = _open(options, environ)
    with reach_api(cluster, environ, options.context) as api:
        if not options.report_only:
            managed = GuardedApi(api, guarded(cluster))
            finish_abandoned_hold(cluster, managed, f"deploy by {who()}")
        return follow_deploy(api, options, terminal, watching(cluster))


def break_glass(options: argparse.Namespace, environ: Mapping[str, str], terminal: Terminal) -> int:
    """The switch is on or off; read before every write of the platform's own changes."""
    cluster = _open(options, environ)
    change = stop(cluster, who(), options.reason) if options.switch == "on" else resume(cluster)
    terminal.plain(str(change))
    return 0


def uninstall(options: argparse.Namespace, environ: Mapping[str, str], terminal: Terminal) -> int:
    """What the platform owns goes, after it was shown; data and what is others' stays."""
    from clinical_ai.steps.cluster.uninstall import (
        Options,
        plan_removal,
        refuse_to_forget,
        remove,
    )

    cluster = _open(options, environ)
    removal = plan_removal(cluster, Options(options.secrets, options.database))
    space = _own_namespace(cluster) if options.whole_namespace else None
    if space is not None:
        refuse_to_forget(cluster, removal)
    # Last of all: one that was killed before is completed, also where nothing else is left.
    lease = [LEASE.short] if cluster.find(LEASE) else []
    whole = [f"Namespace {cluster.namespace}, with all in it"] if space else []
    going = [*removal.going, *lease, *whole]
    for each in going:
        terminal.plain(f"goes   {each}")
    for each in removal.staying if space is None else removal.outside:
        terminal.plain(f"stays  {each}")
    if not going:
        terminal.plain(f"nothing is left to remove in namespace {cluster.namespace}")
        return 0
    if not options.yes and not _confirmed(cluster, terminal):
        terminal.plain("nothing was removed")
        return 1
    with cluster_lease(cluster, f"uninstall by {who()}") as held:
        guard = guarded(cluster, held.renew)
        # A change may have ended while somebody was asked, or held the lease.
        removal = plan_removal(cluster, removal.options)
        if space is not None:
            refuse_to_forget(cluster, removal)
        remove(cluster, removal, guard, lambda change: terminal.plain(str(change)))
    remove_lease(cluster)
    if space is not None:
        refuse_when_stopped(cluster)
        terminal.plain(str(_delete(cluster, space)))
    return 0


def _confirmed(cluster: Cluster, terminal: Terminal) -> bool:
    terminal.plain("")
    sys.stdout.write(f"Type the word uninstall to go on in namespace {cluster.namespace}: ")
    sys.stdout.flush()
    return sys.stdin.readline().strip() == "uninstall"


def _own_namespace(cluster: Cluster) -> Ref:
    """NeedsOperator when bootstrap did not make it: it is not ours to remove."""
    from clinical_ai.steps.cluster.rights import is_kept_namespace, is_own_namespace

    ref = Ref("v1", "Namespace", cluster.namespace)
    found = cluster.find(ref)
    if is_own_namespace(found):
        return ref
    leave = "leave out --whole-namespace; nothing was changed"
    if found is not None and is_kept_namespace(cluster, found):
        problem = f"{ref.short} has lost label {names.OWNER_LABEL}, without which it is not removed"
        again = "`clinical-ai up --runtime kubernetes --settings FILE`, which puts it back"
        raise NeedsOperator(problem, f"run {again}; or {leave}")
    raise NeedsOperator(f"namespace {cluster.namespace} was not made by bootstrap", leave)


def _delete(cluster: Cluster, ref: Ref) -> Change:
    found = cluster.find(ref)
    if found is None:
        return Change(ref.short, Did.UNCHANGED)
    cluster.delete(ref, uid=found["metadata"]["uid"])
    return Change(ref.short, Did.REMOVED)


def _open(options: argparse.Namespace, environ: Mapping[str, str]) -> Cluster:
    space = options.namespace or names.NAMESPACE
    return open_kubernetes(environ, namespace=space, context=options.context)


COMMANDS: Final[Mapping[str, Callable[[argparse.Namespace, Mapping[str, str], Terminal], int]]] = {
    "status": status,
    "verify": verify,
    "deploy": deploy,
    "break-glass": break_glass,
    "uninstall": uninstall,
}
