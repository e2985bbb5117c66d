"""Where objects are deployed, and what watches each write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from clinical_ai.change import Note, unnoted
from clinical_ai.ports import PrefectApi
from clinical_ai.ports_cluster import Cluster, Object
from clinical_ai.steps.cluster.ensure import Guard, free
from clinical_ai.steps.cluster.inventory import Ownership
from clinical_ai.steps.cluster.records import Records
from clinical_ai.steps.progress import Tell, unheard

_SECONDS: Final = 600  # for a roll-out that may still come up

Stages = Mapping[str, Sequence[Object]]


@dataclass(frozen=True)
class Site:
    """Where objects are deployed. `guard` is called before each write and while waiting.

    `api`: itself guarded; None while no server runs yet, so that there is nothing to hold.
    `drain_seconds`: how long runs may take to end before the clinical worker is replaced.
    `run`: id of the flow run that does it, if one does. `note`: called with each object that was
    written, and again when it is put back.
    """

    cluster: Cluster
    ownership: Ownership
    guard: Guard = free
    api: PrefectApi | None = None
    drain_seconds: float = 0
    run: str = ""
    seconds: float = _SECONDS
    tell: Tell = unheard
    note: Note = unnoted

    @property
    def records(self) -> Records:
        """Journal and ledger."""
        return Records(self.cluster, self.guard)
