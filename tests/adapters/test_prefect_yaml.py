"""What a release registers, read from prefect.yaml by the release's own interpreter."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree, rmtree
from tempfile import mkdtemp
from typing import Any

import pytest

from clinical_ai import names
from clinical_ai.adapters.rendered import ensure_rendered, find_rendered
from clinical_ai.errors import NeedsOperator
from clinical_ai.manifests.orchestration import pools
from clinical_ai.manifests.processes import Place
from clinical_ai.settings import Development
from clinical_ai.state_folder import StateFolder
from tests.support.golden import as_yaml, same_as_golden
from tests.support.measured import python

CHECKOUT = Path(__file__).resolve().parent.parent.parent
NOBODY = (65534, 65534) if os.geteuid() == 0 else None


def place(root: Path) -> Place:
    state = StateFolder(root)
    return Place(state, state.releases / "one", Path("/postgres"), 1, 2, 3)


@pytest.fixture
def release() -> Iterator[Place]:
    """A state folder whose release is linked to the tests' own interpreter."""
    root = Path(mkdtemp(prefix="cai-", dir="/tmp"))
    root.chmod(0o755)
    made = place(root)
    for folder in (made.release / "code", made.release / "venv" / "bin", *made.state.owned()):
        folder.mkdir(parents=True)
    Path(made.python).symlink_to(sys.executable)
    yield made
    rmtree(root)


def test_deployments_are_the_golden_ones(rendered: dict[str, Any]) -> None:
    same_as_golden("deployments.yaml", as_yaml(rendered["deployments"]))


def test_the_blocks_form_is_the_golden_one(rendered: dict[str, Any]) -> None:
    """Only what an operator sees: Prefect chooses the checksum and where the logo comes from."""
    fields = rendered["block"]["fields"]["properties"]
    same_as_golden("settings-block.yaml", as_yaml(fields))
    assert rendered["block"]["type"]["slug"] == names.SETTINGS_BLOCK_TYPE
    assert rendered["block"]["checksum"].startswith("sha256:")
    assert not rendered["block"]["fields"].get("required"), "a new field would break old documents"


def test_prefects_own_job_template_has_the_places_that_pools_fill(
    rendered: dict[str, Any],
) -> None:
    where = place(Path("/var/lib/clinical-ai-prefect"))
    for pool in pools(Development(), where, rendered["job_template"]):
        properties = pool["base_job_template"]["variables"]["properties"]
        assert properties["working_dir"]["default"] == where.code
        assert properties["command"]["default"] == f"{where.python} -m prefect.engine"
        configuration = pool["base_job_template"]["job_configuration"]
        assert configuration["command"] == "{{ command }}"
        assert configuration["working_dir"] == "{{ working_dir }}"


def test_the_revision_is_one_of_prefects_migrations(rendered: dict[str, Any]) -> None:
    import prefect.server.database

    folder = Path(prefect.server.database.__file__).parent / "_migrations/versions/postgresql"
    sources = [path.read_text() for path in folder.glob("*.py")]
    mark = f'down_revision = "{rendered["revision"]}"'
    assert any(f'revision = "{rendered["revision"]}"' in text for text in sources)
    assert not any(mark in text for text in sources), "there is a newer one"


def test_what_was_rendered_is_read_again_and_not_made_again(release: Place) -> None:
    (release.release / "rendered.json").write_text('{"made": "before"}')
    assert ensure_rendered(release, NOBODY) == {"made": "before"}


def test_a_release_without_its_flows_is_told_in_one_line_and_leaves_nothing(
    release: Place,
) -> None:
    with pytest.raises(NeedsOperator, match="the release's flows can't be read: ") as refused:
        ensure_rendered(release, None)
    assert "Traceback" not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert find_rendered(release.release) is None


def test_a_flow_that_can_not_be_imported_is_named(tmp_path: Path) -> None:
    for folder in ("flows", "clinical_ai", "blocks"):
        copytree(CHECKOUT / folder, tmp_path / folder)
    (tmp_path / "prefect.yaml").write_text((CHECKOUT / "prefect.yaml").read_text())
    (tmp_path / "flows" / "canary.py").write_text("import nothing_of_that_name\n")
    done = subprocess.run(
        python("-m", "clinical_ai.adapters.prefect_yaml", str(tmp_path)),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "nothing_of_that_name" in done.stderr.strip().splitlines()[-1]
