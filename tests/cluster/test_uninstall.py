"""The platform leaves its namespace, comes back whatever interrupts that, and goes for good.

The tests of this file stand in order, and last: each goes on where the one before it ended.
"""

import os
import random
import signal
import subprocess
from typing import Final

import pytest

from clinical_ai import names
from clinical_ai.ports_cluster import Ref
from clinical_ai.waiting import Sighting, wait_until
from tests.support.cluster_site import ClusterSite

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

FOREIGN: Final = "e2e-foreign"
SEED: Final = int(os.environ.get("E2E_SEED", "1"))
INTERRUPTED: Final = 130
EARLY: Final = 20  # writes: fewer than there are before the server
KEPT_KINDS: Final = {"ConfigMap", "Secret", "ServiceAccount"}  # of others, and each namespace's own
SECRETS: Final = f"Secret {names.SECRETS}"
OURS: Final = {
    f"Deployment {names.SERVER}",
    f"Service {names.SERVER}",
    f"NetworkPolicy {names.SERVER}",
    f"Role {names.PLATFORM_JOB}",
    f"ServiceAccount {names.SERVER}",
    f"ConfigMap {names.INVENTORY}",
}


def signalled(
    site: ClusterSite, how: signal.Signals, side: str, which: str
) -> "subprocess.Popen[str]":
    """A bootstrap that gets this signal before or after this write."""
    through = ["tests.support.killed_bootstrap", how.name, side, which]
    return site.start_bootstrap(through=through)


def end_at(site: ClusterSite, how: signal.Signals, side: str, which: str) -> int:
    """How a bootstrap ended that gets this signal before or after this write."""
    started = signalled(site, how, side, which)
    try:
        said = started.communicate(timeout=600)[0]
    finally:
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGKILL)
    assert "Traceback" not in said, said
    return started.returncode


def test_what_would_go_is_listed_and_nothing_is_removed_without_a_word(site: ClusterSite) -> None:
    site.kubectl("create", "configmap", FOREIGN)
    before = site.versions()
    asked = site.cli("uninstall")
    assert asked.returncode == 1
    assert "nothing was removed" in asked.stdout
    goes = {line[7:] for line in asked.stdout.splitlines() if line.startswith("goes   ")}
    stays = {line[7:] for line in asked.stdout.splitlines() if line.startswith("stays  ")}
    assert goes >= OURS
    assert SECRETS in stays
    assert f"schema {names.PREFECT_SCHEMA} of the database" in stays
    assert site.versions() == before


def test_what_is_ours_goes_and_what_is_others_or_holds_data_stays(site: ClusterSite) -> None:
    runs = int(site.sql(f"select count(*) from {names.PREFECT_SCHEMA}.flow_run"))
    done = site.cli("uninstall", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr

    def look() -> Sighting:
        left = [
            name
            for name in site.objects()
            if name.partition(" ")[0] not in KEPT_KINDS
            or (names.PRODUCT in name and not name.startswith("Secret "))
        ]
        return Sighting(not left, f"there are still {left}")

    wait_until("all to be gone", look, seconds=120)
    there = site.objects().keys()
    assert {f"ConfigMap {FOREIGN}", SECRETS} <= there
    assert site.api.find(Ref("v1", "Namespace", site.namespace)) is not None
    assert int(site.sql(f"select count(*) from {names.PREFECT_SCHEMA}.flow_run")) >= runs > 0


def test_bootstrap_completes_what_interrupted_and_killed_ones_began(site: ClusterSite) -> None:
    """One ends before there is a server; the other when all is there but the first run.

    Neither leaves a lease behind, for which the next would have to wait a minute.
    """
    chance = random.Random(SEED)
    side, number = chance.choice(["before", "after"]), chance.randint(2, EARLY)
    assert end_at(site, signal.SIGINT, side, str(number)) == INTERRUPTED
    assert site.api.find(Ref("apps/v1", "Deployment", names.SERVER)) is None
    assert end_at(site, signal.SIGKILL, "before", "/create_flow_run") == -signal.SIGKILL
    assert site.api.find(Ref("apps/v1", "Deployment", names.WORKER)) is None
    said = site.up()
    assert "next" in said, said
    seen = site.status()
    assert seen["healthy"], seen
    assert seen["drift"]["differing"] == []
    assert seen["lease"] is None


def test_of_two_bootstraps_the_second_says_who_is_first_and_both_complete(
    site: ClusterSite,
) -> None:
    site.kubectl("delete", "networkpolicy", names.SERVER)
    # It does nothing before the second has looked.
    first = signalled(site, signal.SIGSTOP, "before", f"/networkpolicies/{names.SERVER}")
    site.await_holder(f"process {first.pid}", seconds=180)
    second = site.start_bootstrap()
    heard: list[str] = []
    try:
        assert second.stdout is not None
        for line in second.stdout:
            heard.append(line)
            if f"process {first.pid}" in line:
                break
    finally:
        os.killpg(first.pid, signal.SIGCONT)
    said, rest = (each.communicate(timeout=600)[0] for each in (first, second))
    assert first.returncode == 0, said
    assert second.returncode == 0, "".join([*heard, rest])
    assert f"process {first.pid}" in "".join(heard)


def test_all_of_it_goes_when_all_is_named(site: ClusterSite) -> None:
    words = ["--yes", "--secrets", "--database", "--whole-namespace"]
    done = site.cli("uninstall", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    site.await_gone(Ref("v1", "Namespace", site.namespace))
    tables = "select count(*) from information_schema.tables where table_schema = "
    assert site.sql(f"{tables}'{names.PREFECT_SCHEMA}'") == "0"
    assert site.sql(f"select count(*) from {names.SOURCES_TABLE}") == "0"  # theirs, and it stays
