"""Prefect's database has the revision of a release: a Job of its own, that runs to its end."""

from clinical_ai import names
from clinical_ai.change import Change, Did
from clinical_ai.errors import StillRunning, TimedOut
from clinical_ai.ports_cluster import Object, Ref
from clinical_ai.steps.cluster.job import allowed, await_job, has_failed, has_succeeded, remove_job
from clinical_ai.steps.cluster.rollout import RolloutFailed
from clinical_ai.steps.cluster.site import Site


def migrate(site: Site, migration: Object, *, anew: bool = False) -> Change:
    """Prefect's database has the release's revision: the Job of that name has succeeded.

    One that failed is tried anew: its node may have gone, or the database have been away. With
    `anew` also one that succeeded: what it made is there no more.
    """
    name = migration["metadata"]["name"]
    what = f"Job {name}"
    ref = Ref.of(migration)
    found = site.cluster.find(ref)
    if found is not None and (has_failed(found) or (anew and has_succeeded(found))):
        remove_job(site.cluster, found, seconds=site.seconds, beat=site.guard)
        found = None
    if found is None:
        site.guard()
        site.cluster.create(migration)
    done = found is not None and has_succeeded(found)
    if not done:
        _await_migration(site, migration)
    return Change(what, Did.UNCHANGED if done else Did.CREATED)


def _await_migration(site: Site, migration: Object) -> None:
    """It has succeeded.

    One that can't begin is taken away: it might later, below a server that was put back.
    """
    name = migration["metadata"]["name"]
    try:
        await_job(site.cluster, name, seconds=allowed(migration), beat=site.guard)
    except TimedOut as error:
        raise StillRunning(f"{error}; nothing is put back, since it may still go on") from error
    except RolloutFailed:
        found = site.cluster.find(Ref.of(migration))
        if found is not None and not has_failed(found):
            remove_job(site.cluster, found, seconds=site.seconds, beat=site.guard)
        raise


def forget_migrations(site: Site, kept: str) -> list[Change]:
    """Jobs of earlier releases are gone: each change of release or settings makes one."""
    labels = {"app": names.MIGRATION}
    old = [
        each["metadata"]
        for each in site.cluster.find_all("batch/v1", "Job", labels=labels)
        if each["metadata"]["name"] != kept
    ]
    for about in old:
        site.guard()
        site.cluster.delete(Ref("batch/v1", "Job", about["name"]), uid=about["uid"])
    return [Change(f"Job {about['name']}", Did.REMOVED, "of an earlier release") for about in old]
