"""The runtime of one machine: processes under supervisord, spoken to over its socket."""

import os
import subprocess
import xmlrpc.client
from collections.abc import Sequence
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

from clinical_ai import names
from clinical_ai.adapters.files import write_atomically
from clinical_ai.adapters.orphans import is_supervisor, processes_of, stop_processes
from clinical_ai.change import Change, Did
from clinical_ai.errors import NeedsOperator, Transient
from clinical_ai.manifests import supervisor as manifest
from clinical_ai.ports import ProcessSpec, ProcessStatus
from clinical_ai.state_folder import StateFolder
from clinical_ai.waiting import Sighting, wait_until

_RUNNING: Final = {"RUNNING", "STARTING"}


class SupervisorRuntime:
    """The processes of one state folder, run as `user` (a uid and gid) when started by root."""

    def __init__(
        self, state: StateFolder, python: str, user: tuple[int, int] | None = None
    ) -> None:
        self._state = state
        self._python = python
        self._user = user

    def processes(self) -> list[ProcessStatus]:
        """All supervised processes; empty when the supervisor is not running."""
        try:
            rows: list[dict[str, Any]] = self._call("getAllProcessInfo")
        except Transient:
            return []
        return [_status(row) for row in rows]

    def plan(self, specs: Sequence[ProcessSpec]) -> list[Change]:
        """What `ensure` would do."""
        known = {status.name: status for status in self.processes()}
        stale = set(self._reload()) if known else set()
        return [self._compare(spec, known.get(spec.name), stale) for spec in specs]

    def ensure(self, specs: Sequence[ProcessSpec]) -> list[Change]:
        """These processes run, each with its spec; a changed one is restarted, others stay."""
        plan = self.plan(specs)
        if not any(change.wrote for change in plan):
            return plan
        self._write(specs)
        if not self._answers():
            self._start_supervisor()
            return plan
        stale = self._reload()
        for name in reversed(stale):
            self._remove(name)
        loaded = {row["group"] for row in self._call("getAllProcessInfo")}
        for spec, change in zip(specs, plan, strict=True):
            if spec.name not in loaded:
                self._call("addProcessGroup", spec.name)
            elif change.wrote and not spec.one_shot:
                self.start(spec.name)
        return plan

    def start(self, name: str) -> None:
        """Start a one-shot, or a process that was stopped."""
        try:
            self._call("startProcess", name, False)  # noqa: FBT003 - supervisor's own signature
        except NeedsOperator as error:
            if "ALREADY_STARTED" not in str(error):
                raise

    def stop(self, name: str) -> None:
        """The process has ended; it may have been stopped before."""
        # Between fork and exec a process is still the supervisor's code and swallows the signal.
        wait_until(f"the start of {name}", lambda: self._started(name), seconds=10, every=0.01)
        try:
            self._call("stopProcess", name)
        except NeedsOperator as error:
            if "NOT_RUNNING" not in str(error):
                raise

    def stop_all(self) -> list[Change]:
        """Stop everything in the reverse order of starting, the supervisor and orphans last."""
        running = [status.name for status in self.processes() if status.running]
        order = [names.ROLL, names.WORKER, names.PLATFORM_WORKER, names.SERVER, names.POSTGRES]
        changes = []
        for name in [name for name in order if name in running]:
            self.stop(name)
            changes.append(Change(name, Did.STOPPED))
        if self._answers():
            self._call("shutdown")
            wait_until("the supervisor's end", self._gone, seconds=60)
            changes.append(Change("supervisor", Did.STOPPED))
        return changes + stop_processes(self._state.root)

    def _compare(self, spec: ProcessSpec, status: ProcessStatus | None, stale: set[str]) -> Change:
        path = self._state.spec(spec.name)
        written = path.read_text() if path.exists() else ""
        if not written:
            return Change(spec.name, Did.CREATED)
        if written != manifest.document(spec) or spec.name in stale:
            return Change(spec.name, Did.UPDATED, "its spec changed")
        if status is None or not (status.running or spec.one_shot):
            return Change(spec.name, Did.UPDATED, "it was not running")
        return Change(spec.name, Did.UNCHANGED)

    def _write(self, specs: Sequence[ProcessSpec]) -> None:
        """Specs first, the configuration that names them last."""
        for spec in specs:
            write_atomically(self._state.spec(spec.name), manifest.document(spec), self._user)
        text = manifest.configuration(self._state, self._python, specs)
        write_atomically(self._state.supervisor, text, self._user)

    def _start_supervisor(self) -> None:
        """Start it apart from this terminal, after ending what a killed one left behind."""
        stop_processes(self._state.root)
        self._state.socket.unlink(missing_ok=True)
        command = [self._python, "-m", "supervisor.supervisord", "-c", str(self._state.supervisor)]
        uid, gid = self._user or (None, None)
        with self._state.log("supervisor-start").open("ab") as output:
            subprocess.Popen(
                command,
                cwd=self._state.run,
                env={
                    "PATH": "/usr/bin:/bin",
                    "LANG": "C.UTF-8",
                    "HOME": str(self._state.scratch),
                    names.STATE_VARIABLE: str(self._state.root),
                    "CLINICAL_AI_SUPERVISOR": "1",
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                user=uid,
                group=gid,
                extra_groups=None if uid is None else [],
            )
        wait_until("the supervisor", self._there, seconds=30, every=0.05)

    def _reload(self) -> list[str]:
        """Read the configuration again: processes whose section changed or went away."""
        _added, changed, removed = self._call("reloadConfig")[0]
        return [*changed, *removed]

    def _remove(self, name: str) -> None:
        self.stop(name)
        self._call("removeProcessGroup", name)

    def _started(self, name: str) -> Sighting:
        pid = self._call("getProcessInfo", name)["pid"]
        return Sighting(
            done=not (pid and is_supervisor(pid)), summary="it is being started at this moment"
        )

    def _there(self) -> Sighting:
        return Sighting(done=self._answers(), summary="it does not answer yet")

    def _gone(self) -> Sighting:
        left = [p.pid for p in processes_of(self._state.root) if is_supervisor(p.pid)]
        return Sighting(done=not left, summary=f"still there: {left}")

    def _answers(self) -> bool:
        try:
            return bool(self._call("getState")["statename"] == "RUNNING")
        except Transient:
            return False

    def _call(self, method: str, *arguments: Any) -> Any:
        from supervisor.xmlrpc import SupervisorTransport

        transport = SupervisorTransport(None, None, f"unix://{self._state.socket}")
        try:
            with xmlrpc.client.ServerProxy("http://127.0.0.1", transport) as proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            raise NeedsOperator(
                f"the supervisor refused {method} {' '.join(map(str, arguments))}: "
                f"{fault.faultString}",
                f"read the logs in {self._state.logs}",
            ) from fault
        except (OSError, HTTPException) as error:
            raise Transient(f"the supervisor does not answer: {type(error).__name__}") from error


def _status(row: dict[str, Any]) -> ProcessStatus:
    running = row["statename"] in _RUNNING
    return ProcessStatus(
        name=row["name"],
        running=running,
        state=row["statename"].lower(),
        pid=row["pid"] or None,
        since=datetime.fromtimestamp(row["start"], UTC) if running else None,
    )


def owner_of(path: Path) -> tuple[int, int] | None:
    """Uid and gid that processes run as: the folder's owner when this is root."""
    found = path.stat()
    return (found.st_uid, found.st_gid) if os.geteuid() == 0 else None
