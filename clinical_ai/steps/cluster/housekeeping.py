"""What is left over and no settings name: rows of vanished workers, slots of vanished leases.

It is no drift that somebody may want to look at first, so it goes by schedule also where drift is
only told.
"""

from dataclasses import replace

from clinical_ai.change import Change
from clinical_ai.errors import Locked
from clinical_ai.ports import PrefectApi
from clinical_ai.ports_cluster import Cluster
from clinical_ai.steps.cluster.break_glass import Stopped
from clinical_ai.steps.cluster.leaked_slots import free_leaked_slots
from clinical_ai.steps.cluster.lease import cluster_lease
from clinical_ai.steps.cluster.workers import forget_workers


def tidy(cluster: Cluster, api: PrefectApi, who: str, *, slots: bool, write: bool) -> list[Change]:
    """What was left over, and whether it is gone; where nothing is, no lease is taken.

    It stays, told with why, while self-management is stopped or somebody else changes the platform.
    `api` is guarded. `slots`: whether leases have no volume of their own, so that slots leak.
    """

    def look(*, write: bool) -> list[Change]:
        freed = free_leaked_slots(cluster, api, write=write) if slots else []
        return [*forget_workers(cluster, api, write=write), *freed]

    found = look(write=False)
    if not (write and found):
        return found
    try:
        with cluster_lease(cluster, who):
            return look(write=True)
    except (Locked, Stopped) as error:
        return [replace(each, detail=f"{each.detail}; {error}") for each in look(write=False)]
