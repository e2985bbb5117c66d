"""Kills of bootstrap, deploy/self and pods on Kubernetes, each healed by bootstrap."""

import os
import random
import shutil
import signal
import subprocess
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from typing import Final
from uuid import uuid4

from clinical_ai import names
from clinical_ai.errors import Transient
from clinical_ai.ports import PrefectApi
from clinical_ai.ports_cluster import Ref
from clinical_ai.steps.cluster.inventory import Ownership, read_inventory
from clinical_ai.steps.runs import FINAL, Run, follow_run, get_deployment, get_run, start_run
from clinical_ai.waiting import Sighting, wait_until
from tests.faults.cluster_health import Patient, find_wrong
from tests.support.cluster_site import ClusterSite
from tests.support.patient import begin, deploy_patient

_COMPONENTS: Final = {
    "server": names.SERVER,
    "platform-worker": names.PLATFORM_WORKER,
    "worker": names.WORKER,
}
_POOLS: Final = {worker: pool for pool, worker in names.WORKERS.items()}
_ANNOTATION: Final = """\
[kubernetes.components.{component}.annotations]
"example.org/fault" = "{value}"
"""
_FORCE: Final = ("--force", "--grace-period=0")
_SECONDS: Final = 900  # of a bootstrap or a run
_SILENCE: Final = 150  # until a run whose process is gone has ended
_PATIENT_SECONDS: Final = 60
_TRIES: Final = 4
_NOTHING: Final = "from nothing"
_HELD: Final = "another change is under way"
# Without one of them no run starts, and heartbeats of one that runs may cease.
_NEEDED_BY_RUNS: Final = frozenset({"NetworkPolicy", "Service", "Deployment"})


@dataclass
class _Site(ClusterSite):
    """`annotated`: what settings say of the pods of some components."""

    annotated: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        told = (_ANNOTATION.format(component=c, value=v) for c, v in self.annotated.items())
        return super().text + "".join(told)

    def save(self) -> None:
        """The block says what the file says, as after an edit in the UI."""
        self.edit_cluster(components=tomllib.loads(self.text)["kubernetes"]["components"])


class Namespaces:
    """A platform in a namespace of its own, its database in another."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="clinical-ai-faults-"))
        self._site: _Site | None = None
        self._patient: Patient | None = None
        self._words: list[str] = []
        self._said: list[str] = []
        self._left: list[subprocess.Popen[str]] = []

    @property
    def place(self) -> str:
        return f"namespaces {self.site.namespace} and {self.site.data}, settings in {self._folder}"

    @property
    def site(self) -> _Site:
        assert self._site is not None, "no platform was begun yet"
        return self._site

    def hurt(self, chance: random.Random) -> str:
        """One fault; what it was."""
        self._words, self._said, self._patient = [], [], None
        if self._site is None or chance.random() < 0.12:
            self._begin_from_nothing(chance)
            return chance.choice([self._kill_bootstrap, self._start_two])(chance, _NOTHING)
        self._begin_patient()
        faults: list[Callable[[random.Random, str], str]]
        faults = [self._kill_bootstrap, self._start_two, self._kill_run, self._delete_pod]
        [fault] = chance.choices(faults, weights=[4, 2, 4, 3])
        return fault(chance, self._give_work(chance, for_run=fault in faults[2:]))

    def heal(self) -> str:
        """Run bootstrap to its end; what is wrong afterwards, or nothing."""
        if wrong := self._bring_up():
            return wrong
        return find_wrong(self.site, self._patient)

    def remove(self) -> None:
        """Nothing that was started runs any more, and its namespaces go."""
        for process in self._left:
            if process.poll() is None:
                _kill(process, signal.SIGKILL)
        if self._site is not None:
            self._site.remove()
        shutil.rmtree(self._folder)

    # What may happen before.

    def _begin_from_nothing(self, chance: random.Random) -> None:
        """An empty namespace: another one, or that of a platform that was uninstalled."""
        if self._site is not None and chance.random() < 0.5:
            done = self.site.cli("uninstall", "--whole-namespace", "--database", "--yes")
            assert done.returncode == 0, done.stdout + done.stderr
            self.site.await_gone(Ref("v1", "Namespace", self.site.namespace))
            self.site.annotated.clear()
            return
        if self._site is not None:
            self._site.remove()
        self._site = _Site(self._folder, namespace=f"faults-{uuid4().hex[:6]}")
        self._site.lay_ground()

    def _begin_patient(self) -> None:
        with self.site.reach() as api:
            deployment = deploy_patient(api)
            [run_id] = begin(api, _PATIENT_SECONDS)
            self._patient = Patient(run_id, deployment)

    def _give_work(self, chance: random.Random, *, for_run: bool) -> str:
        """Something differs from what is wanted; what. `for_run`: deploy/self can mend it."""
        match chance.choice(["an object", "settings", "settings", "registration"]):
            case "an object":
                return self._delete_object(chance, for_run=for_run)
            case "settings":
                component = chance.choice(list(_COMPONENTS))
                self.site.annotated[component] = f"{chance.getrandbits(32):x}"
                self._words = ["--replace-settings"]
                return f"{component} changed"
            case _:
                with self.site.reach() as api:
                    api.delete(f"/deployments/{get_deployment(api, names.VERIFY)['id']}")
                    for row in api.post("/automations/filter", {}):
                        api.delete(f"/automations/{row['id']}")
                return "registration gone"

    def _delete_object(self, chance: random.Random, *, for_run: bool) -> str:
        api = self.site.api
        lists = [names.INVENTORY, *([] if for_run else [names.RIGHTS_INVENTORY])]
        refs = [ref for name in lists for ref in read_inventory(api, Ownership({}, 0, name)).uids]
        spared = _NEEDED_BY_RUNS if for_run else {"Namespace"}
        ref = chance.choice(sorted((ref for ref in refs if ref.kind not in spared), key=str))
        if self._patient is not None and ref.kind in _NEEDED_BY_RUNS:
            self._patient.may_crash = True
        api.delete(ref, uid=api.get(ref)["metadata"]["uid"])
        return f"{ref.kind} {ref.name.removeprefix(names.PRODUCT + '-')} gone"

    # The faults.

    def _kill_bootstrap(self, chance: random.Random, work: str) -> str:
        how = chance.choice([signal.SIGINT, signal.SIGKILL])
        if chance.random() < 0.7:
            most = 45 if work == _NOTHING else 15  # about as many as there are
            side, number = chance.choice(["before", "after"]), chance.randint(1, most)
            through = ["tests.support.killed_bootstrap", how.name, side, str(number)]
            process, when = self._start(*through), f"{side} write {number}"
            seconds: float = _SECONDS
        else:
            seconds = chance.uniform(0.5, 90)
            process, when = self._start("bootstrap"), f"after {seconds:.0f} s"
        try:
            self._said.append(process.communicate(timeout=seconds)[0])
        except subprocess.TimeoutExpired:
            _kill(process, how)
            self._said.append(process.communicate()[0])
        ended = f"ended {process.returncode}"  # 130: interrupted, -9: killed, 0: it was faster
        return f"{how.name} to bootstrap {when}, {ended}; {work}"

    def _start_two(self, chance: random.Random, work: str) -> str:
        """One has to win; the other waits for it, or says who holds the lease."""
        first = self._start("bootstrap")
        sleep(chance.choice([0, 0, chance.uniform(0, 20)]))
        both = [first, self._start("bootstrap")]
        said = [process.communicate(timeout=_SECONDS)[0] for process in both]
        self._said += said
        ended = list(zip((process.returncode for process in both), said, strict=True))
        assert any(code == 0 for code, _ in ended), "\n".join(text[-800:] for text in said)
        for code, text in ended:
            assert code == 0 or "holds" in text, text[-800:]
        codes = " and ".join(str(code) for code, _ in ended)
        return f"two bootstraps at once ended {codes}; {work}"

    def _kill_run(self, chance: random.Random, work: str) -> str:
        component = work.removesuffix(" changed")
        pool = _POOLS.get(_COMPONENTS.get(component, ""))
        with self._deploying() as (api, run):
            pods = self._await_pods(run)
            if pool and chance.random() < 0.6:
                when = f"while pool {pool} was held"
                _await_hold(api, run, pool)
                sleep(chance.uniform(0, 4))
            else:
                seconds = chance.uniform(0, 60)
                when = f"{seconds:.0f} s after its pod was there"
                sleep(seconds)
            for pod in pods:
                self.site.kubectl("delete", "pod", pod, *_FORCE, "--ignore-not-found")
            heals_at_once = chance.random() < 0.5
            if not heals_at_once:
                run = follow_run(api, run.id, seconds=_SILENCE)
        ended = "healed at once" if heals_at_once else run.state
        return f"deploy/self {run.name} killed {when}, {ended}; {work}"

    def _delete_pod(self, chance: random.Random, work: str) -> str:
        component = chance.choice(list(_COMPONENTS))
        force = _FORCE if chance.random() < 0.4 else ()
        seconds = chance.uniform(0, 40)
        with self._deploying() as (api, run):
            self._await_pods(run)
            sleep(seconds)
            label = f"app={_COMPONENTS[component]}"
            self.site.kubectl("delete", "pod", "-l", label, "--wait=false", *force)
            if self._patient is not None and component == "worker":
                self._patient.may_crash = True  # a worker that is told to stop ends its runs
            run = follow_run(api, run.id, seconds=_SECONDS)
            assert run.completed, f"{run.name} {run.state}: {run.message}"
        how = "deleted by force" if force else "deleted"
        return f"pod of {component} {how} {seconds:.0f} s into deploy/self; {work}"

    # What both need.

    @contextmanager
    def _deploying(self) -> Iterator[tuple[PrefectApi, Run]]:
        """With a run of deploy/self that has just been asked for."""
        if self._words:
            self.site.save()
        with self.site.reach() as api:
            yield api, get_run(api, start_run(api, names.DEPLOY_SELF, {}))

    def _await_pods(self, run: Run) -> list[str]:
        """Names of the run's pods, once there is one."""
        found: list[str] = []

        def look() -> Sighting:
            pods = self.site.api.find_all("v1", "Pod", labels={"app": names.PLATFORM_JOB})
            found[:] = [it for pod in pods if (it := pod["metadata"]["name"]).startswith(run.name)]
            return Sighting(bool(found), f"{len(pods)} pods of other runs")

        wait_until(f"a pod of run {run.name}", look, seconds=180)
        return found

    def _start(self, *through: str) -> "subprocess.Popen[str]":
        process = self.site.start_bootstrap(*self._words, through=through)
        self._left.append(process)
        return process

    def _bring_up(self) -> str:
        """Bootstrap has ended well, when need be after whoever holds the lease."""
        for _ in range(_TRIES):
            done = self.site.bootstrap(*self._words)
            self._said.append(done.stdout + done.stderr)
            if any("Traceback" in text for text in self._said):
                return "traceback: " + "".join(self._said)[-2000:]
            if done.returncode == 0:
                return ""
            if _HELD not in self._said[-1]:
                break
        return f"bootstrap failed: {self._said[-1][-1500:]}"


def _await_hold(api: PrefectApi, run: Run, pool: str) -> None:
    """The pool is paused, or the run has ended without a hold; the server may be replaced."""

    def look() -> Sighting:
        try:
            state, held = get_run(api, run.id).state, api.get(f"/work_pools/{pool}")["is_paused"]
        except Transient as error:
            return Sighting(done=False, summary=str(error))
        return Sighting(held or state in FINAL, f"it is open, {run.name} {state}")

    wait_until(f"a hold of pool {pool}", look, seconds=_SECONDS, every=0.2)


def _kill(process: "subprocess.Popen[str]", how: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, how)
