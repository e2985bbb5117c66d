"""A person agrees in the UI before many things go; until then the run is suspended."""

from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from prefect import get_run_logger, runtime, suspend_flow_run
from prefect.exceptions import Pause
from prefect.input import RunInput

from clinical_ai.steps.runs import where_to_see
from clinical_ai.wiring_cluster import AnyPlatform

_PATIENCE: Final = 3600  # seconds that a run waits for an answer


class Removal(RunInput):
    """What the form in the UI asks while the run is suspended."""

    remove_them: bool = False


def confirm(platform: AnyPlatform, why: str, going: Iterable[object]) -> bool:
    """Whether a person agrees that all of these go; the run is suspended and asks in the UI.

    It begins anew with the answer, which counts for this very list alone: its digest is the key.
    Whoever follows the run reads what is asked, and where.
    """
    told = "\n".join([f"{why}:", "", *(f"- {each}" for each in going)])
    form = Removal.with_initial_data(description=told, remove_them=False)
    key = sha256(told.encode()).hexdigest()[:16]
    try:
        return suspend_flow_run(wait_for_input=form, timeout=_PATIENCE, key=key).remove_them
    except Pause:  # it was not asked before
        place = where_to_see(platform, str(runtime.flow_run.id))
        minutes = _PATIENCE // 60
        get_run_logger().info("%s\n\nIt waits %d minutes for an answer: %s", told, minutes, place)
        raise
