"""Which ports and which release one machine's platform uses: small, not secret, re-creatable."""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from clinical_ai.errors import NeedsOperator
from clinical_ai.state_folder import StateFolder


class Instance(BaseModel):
    """What `instance.json` of the state folder holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    api_url: str
    auth: bool
    database_port: int
    worker_health_port: int
    platform_worker_health_port: int
    release: str

    @property
    def inner_ports(self) -> tuple[int, int, int]:
        """The ports of everything but the API."""
        return (
            self.database_port,
            self.worker_health_port,
            self.platform_worker_health_port,
        )

    @property
    def ui_url(self) -> str:
        """Where a browser finds Prefect."""
        return self.api_url.removesuffix("/api")


def find_instance(state: StateFolder) -> Instance | None:
    """The instance, or None when nothing was ever installed in this folder."""
    try:
        text = state.instance.read_text(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        raise NeedsOperator(
            f"the platform in {state.root} belongs to another user",
            "run this as its owner or as root, or choose another folder with --state",
        ) from None
    return parse_instance(text, state.instance)


def get_instance(state: StateFolder) -> Instance:
    """The instance; NeedsOperator when there is none."""
    found = find_instance(state)
    if found is None:
        raise NeedsOperator(f"no platform is installed in {state.root}", "run `make up` first")
    return found


def parse_instance(text: str, path: Path) -> Instance:
    """The instance a file describes; a damaged one is refused, never guessed."""
    try:
        return Instance.model_validate(json.loads(text))
    except (ValueError, ValidationError):
        raise NeedsOperator(
            f"{path} is damaged",
            "remove it and run `make up`, which writes it anew; no data is in it",
        ) from None


def document(instance: Instance) -> str:
    """The text of the file."""
    return instance.model_dump_json(indent=1) + "\n"
