"""The platform's objects are as wanted, stage by stage; a bad roll-out is taken back."""

import logging
from collections.abc import Iterable
from typing import Final

from clinical_ai.change import Change
from clinical_ai.errors import StillRunning, TimedOut
from clinical_ai.ports_cluster import Object, Ref
from clinical_ai.steps.cluster.ensure import ObjectChange, ensure_objects
from clinical_ai.steps.cluster.hold import finish_hold
from clinical_ai.steps.cluster.inventory import (
    check_prune,
    prune,
    read_inventory,
    uids_of,
    write_inventory,
)
from clinical_ai.steps.cluster.migrate import forget_migrations, migrate
from clinical_ai.steps.cluster.roll import Roll
from clinical_ai.steps.cluster.rollout import RolloutFailed
from clinical_ai.steps.cluster.site import Site, Stages

log = logging.getLogger(__name__)

_WORKLOAD: Final = "Deployment"


def look(site: Site, stages: Stages) -> list[ObjectChange]:
    """What differs; nothing is written. One list a kind at most, one dry run an object."""
    wanted = [each for stage in stages.values() for each in stage]
    changes = ensure_objects(site.cluster, wanted, write=False)
    refs = [Ref.of(each) for each in wanted]
    inventory = read_inventory(site.cluster, site.ownership).with_wanted(refs)
    return [*changes, *prune(site.cluster, inventory, refs, site.ownership, write=False).changes]


def deploy(
    site: Site, stages: Stages, migration: Object | None = None, *, all_of_it: bool = True
) -> list[Change]:
    """All stages are applied in order and have come up, and what is wanted no more is gone.

    `migration` runs to its end before the server is changed. When something does not come up, what
    this call changed is put back as it was last found good, and RolloutFailed tells why. When the
    migration has moved the database that is the workers only: an older server fails on it. Nothing
    is put back when runs did not end in time for their worker to be replaced, nor while the
    migration may still go on: StillRunning. That all came up makes it no good one yet: a proof
    does. A prune that is refused is so before anything is applied. `all_of_it` off: others follow,
    so nothing is pruned yet.
    """
    wanted = [each for stage in stages.values() for each in stage]
    refs = [Ref.of(each) for each in wanted]
    if site.api is not None:
        finish_hold(site.records, site.api)
    inventory = read_inventory(site.cluster, site.ownership).with_wanted(refs)
    if all_of_it:
        check_prune(site.cluster, inventory, refs, site.ownership)
    first = write_inventory(site.cluster, inventory, site.ownership, guard=site.guard)
    seen = ensure_objects(site.cluster, wanted, write=False)
    work = Roll(
        site, [first], dict(zip(refs, wanted, strict=True)), dict(zip(refs, seen, strict=True))
    )
    _roll_out(work, stages, migration)
    known = inventory.with_uids(uids_of(work.objects))
    if not all_of_it:
        write_inventory(site.cluster, known, site.ownership, guard=site.guard)
        return work.changes
    pruned = prune(
        site.cluster,
        known,
        refs,
        site.ownership,
        write=True,
        guard=site.guard,
        read=_mounted(wanted),
    )
    write_inventory(site.cluster, pruned.inventory, site.ownership, guard=site.guard)
    for each in pruned.changes:
        if each.wrote:
            site.note(each)
    for fault in pruned.faults:
        log.warning("tried again next time: %s", fault)
    done = [*work.changes, *pruned.changes]
    if migration is not None:
        done += forget_migrations(site, migration["metadata"]["name"])
    if any(each.wrote for each in done):
        site.tell(1, "all is as wanted")
    return done


def _roll_out(work: Roll, stages: Stages, migration: Object | None) -> None:
    """All stages have come up in order; otherwise what can be is put back, and why is raised."""
    try:
        for name, objects in stages.items():
            if name == "server" and migration is not None:
                work.changes.append(migrate(work.site, migration))
            for each in objects:
                work.roll(each, len(work.objects) / len(work.wanted))
    except StillRunning:
        raise  # all before it came up, and the next run goes on from there
    except (RolloutFailed, TimedOut) as error:
        if moved := work.unroll():
            raise _not_put_back(error, moved) from error
        raise


def _not_put_back(error: RolloutFailed | TimedOut, moved: str) -> RolloutFailed:
    """The same error for a person, who has to decide about the database."""
    found = error if isinstance(error, RolloutFailed) else RolloutFailed(str(error), "")
    told = f"Prefect's database went {moved}, so the server of before is not put back"
    then = "mend the cause and run `up` of the newer release, or restore a backup of the database"
    remedy = f"{found.remedy}; {then}" if found.remedy else then
    return RolloutFailed(f"{told}; {found.problem}", remedy, found.diagnoses)


def _mounted(wanted: Iterable[Object]) -> set[str]:
    """Names of the Secrets in volumes of these workloads' pods."""
    pods = [each["spec"]["template"]["spec"] for each in wanted if each["kind"] == _WORKLOAD]
    volumes = [volume for pod in pods for volume in pod.get("volumes", [])]
    return {volume["secret"]["secretName"] for volume in volumes if "secret" in volume}
