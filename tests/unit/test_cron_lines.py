"""A cron line is what Prefect's server takes for one, and known without importing Prefect."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as some
from prefect.server.schemas.schedules import CronSchedule
from pydantic import ValidationError

from clinical_ai.cron_lines import comes, is_cron
from tests.support.platform import CHECKOUT


def taken(line: str) -> bool:
    try:
        CronSchedule(cron=line)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("line", "good"),
    [
        ("17 * * * *", True),
        ("*/5 1-5 1,15 JAN mon-fri", True),
        ("0 0 * * 5#3", True),
        ("0 0 L * *", True),
        ("61 * * * *", False),
        ("* 24 * * *", False),
        ("0 0 0 * *", False),
        ("0 0 * 13 *", False),
        ("5-61 * * * *", False),
        ("*/0 * * * *", False),
        ("a * * * *", False),
        ("H * * * *", False),
        ("r * * * *", False),
        ("* * * *", False),
        ("", False),
    ],
)
def test_a_cron_line_is_what_prefects_server_takes(line: str, good: bool) -> None:
    assert is_cron(line) is taken(line) is good


_FIELD = some.text("0123456789*,/-#LRHajmnotu", min_size=1, max_size=4)


@given(some.lists(_FIELD | some.just("*"), min_size=4, max_size=7).map(" ".join))
def test_any_line_is_taken_as_prefects_server_takes_it(line: str) -> None:
    assert is_cron(line) is taken(line)


def test_a_day_that_there_is_not_never_comes() -> None:
    assert comes("0 0 29 2 *")
    assert is_cron("0 0 30 2 *")
    assert not comes("0 0 30 2 *")


def test_settings_of_a_cluster_are_read_without_importing_prefect() -> None:
    code = (
        "import sys; from clinical_ai.settings import parse; "
        "parse({'kubernetes': {'registry': 'r.test', 'drift-schedule': '7 3 * * *'}}); "
        "print('prefect' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("False", "")
