"""Why a pod does not come up: from what the cluster shows to a cause and a remedy. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from clinical_ai.conditions import conditions_of, is_ready, shortened
from clinical_ai.ports_cluster import Object

_NO_IMAGE: Final = re.compile(r"not found|manifest unknown|does not exist", re.I)
_NO_RIGHT: Final = re.compile(r"unauthorized|denied|authentication required|forbidden", re.I)
_NO_KEY: Final = re.compile(r"couldn't find key (\S+) in (Secret|ConfigMap) \S*?/?([^/\s]+)$", re.I)
_NO_OBJECT: Final = re.compile(r'(secret|configmap) "([^"]+)" not found', re.I)
_KINDS: Final = {"secret": "Secret", "configmap": "ConfigMap"}
_MOST_STARTS: Final = 2  # after so many restarts a container that ends is no accident
_KILLED: Final = frozenset({137, 143})  # exit codes after SIGKILL and SIGTERM


@dataclass(frozen=True)
class Diagnosis:
    """Why something does not come up, and what a person does.

    `patience`: seconds after which it is not waited for any longer, because by then it would have
    healed if it were going to. `container`: whose log may tell more.
    """

    cause: str
    remedy: str
    patience: float
    pod: str = ""
    container: str = ""

    @property
    def kind(self) -> str:
        """The same for as long as the same is wrong: the remedy, whichever pod it is about.

        The cause repeats messages, which count tries and differ from one look to the next.
        """
        return self.remedy.replace(self.pod, "*") if self.pod else self.remedy


def faults_of_pod(pod: Object, events: Sequence[Object]) -> Iterator[Diagnosis]:
    """What is wrong with one pod; `events` are those about it."""
    about, status = pod["metadata"], pod.get("status", {})
    if "deletionTimestamp" in about:
        return
    if status.get("phase") == "Failed":  # another takes its place, which may need its time
        why = f"{status.get('reason', 'it failed')}: {status.get('message', '')}"
        text = f"pod {about['name']} was given up ({why})"
        yield Diagnosis(text, "see `kubectl describe node`", 120, about["name"])
        return
    for told in conditions_of(pod):
        if (told.get("type"), told.get("reason")) == ("PodScheduled", "Unschedulable"):
            yield Diagnosis(
                f"no node takes pod {about['name']}: {told.get('message', '')}",
                "add capacity, or ask for less, or for other nodes, in settings",
                120,  # a cluster that adds nodes by itself needs a minute or two
                about["name"],
            )
    for each in (*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])):
        if (found := _of_container(pod, each, events)) is not None:
            yield found
    yield from _of_beginning(pod)
    yield from _of_events(pod, events)


def _of_container(
    pod: Object, told: Mapping[str, Any], events: Sequence[Object]
) -> Diagnosis | None:
    name, whose = told["name"], pod["metadata"]["name"]
    waiting = told.get("state", {}).get("waiting") or {}
    reason, message = str(waiting.get("reason", "")), str(waiting.get("message", ""))
    match reason:
        case "InvalidImageName":
            return _image(told, "is no valid name", "correct the image in settings", 0)
        case "ErrImageNeverPull":
            text = "is not on the node and its pull policy forbids to pull it"
            return _image(told, text, "set the pull policy to IfNotPresent", 5)
        case "ErrImagePull" | "ImagePullBackOff" | "ImageInspectError" | "RegistryUnavailable":
            tries = [it["message"] for it in events if it.get("reason") == "Failed"]
            return _not_pulled(told, " ".join([message, *tries]))
        case "CreateContainerConfigError":
            return _not_configured(whose, name, message)
        case "CreateContainerError" | "RunContainerError" | "CreatePodSandboxError":
            text = f"container {name} of pod {whose} can't be started: {shortened(message)}"
            return Diagnosis(text, f"see `kubectl describe pod {whose}`", 15, whose, name)
        case "" | "ContainerCreating" | "PodInitializing" | "CrashLoopBackOff":
            return _crashed(whose, told, events, looping=reason == "CrashLoopBackOff")
        case unknown:
            text = f"container {name} of pod {whose} waits, not seen before: {unknown}"
            return Diagnosis(text, f"read `kubectl describe pod {whose}`", 60, whose, name)


def _of_beginning(pod: Object) -> Iterator[Diagnosis]:
    """An init container that runs on, as Vault's agent does which is not let in."""
    whose = pod["metadata"]["name"]
    first = pod.get("spec", {}).get("initContainers", [])
    beside = {each["name"] for each in first if each.get("restartPolicy") == "Always"}
    for told in pod.get("status", {}).get("initContainerStatuses", []):
        if "running" in told.get("state", {}) and told["name"] not in beside:
            name = told["name"]
            text = f"container {name} of pod {whose} does not let its work begin"
            yield Diagnosis(text, f"read `kubectl logs {whose} -c {name}`", 60, whose, name)


def _image(told: Mapping[str, Any], cause: str, remedy: str, patience: float) -> Diagnosis:
    return Diagnosis(f"image {told.get('image', '')!r} {cause}", remedy, patience)


def _not_pulled(told: Mapping[str, Any], message: str) -> Diagnosis:
    if _NO_RIGHT.search(message):
        remedy = "check the registry's credentials: the image pull secret in settings"
        return _image(told, "can't be pulled: the registry refuses us", remedy, 10)
    if _NO_IMAGE.search(message):
        remedy = "check the tag or digest, and that it was pushed to this registry"
        return _image(told, "does not exist in the registry", remedy, 10)
    text = f"can't be pulled: {shortened(message)}"
    return _image(told, text, "check that the nodes reach the registry", 30)


def _not_configured(pod: str, name: str, message: str) -> Diagnosis:
    """A Secret may still be on its way from a secrets tool, so there is some patience."""
    if key := _NO_KEY.search(message):
        cause = f"{key[2]} {key[3]} has no key {key[1]}, which container {name} needs"
        remedy = f"add it; see `kubectl describe {key[2].lower()} {key[3]}`"
    elif missing := _NO_OBJECT.search(message):
        what = missing[1].lower()
        cause = f"{_KINDS[what]} {missing[2]} does not exist, which container {name} needs"
        remedy = f"make it; see `kubectl get {what}`"
    else:
        cause = f"container {name} of pod {pod} can't be configured: {shortened(message)}"
        remedy = f"see `kubectl describe pod {pod}`"
    return Diagnosis(cause, remedy, 20, pod)


def _crashed(
    pod: str, told: Mapping[str, Any], events: Sequence[Object], *, looping: bool
) -> Diagnosis | None:
    ended = told.get("state", {}).get("terminated") or told.get("lastState", {}).get("terminated")
    if not ended or not (ended.get("exitCode") or looping):
        return None
    name, starts, code = told["name"], told.get("restartCount", 0), ended.get("exitCode")
    whose = f"container {name} of pod {pod}"
    if ended.get("reason") == "OOMKilled":
        remedy = "raise its memory limit in settings"
        return Diagnosis(f"{whose} needs more memory than its limit", remedy, 5, pod)
    patience = 5.0 if looping and starts >= _MOST_STARTS else 45.0
    remedy = f"read `kubectl logs {pod} -c {name} --previous`"
    if ended.get("reason") in {"StartError", "ContainerCannotRun"}:
        text = f"{whose} can't be started: {shortened(str(ended.get('message', '')))}"
        return Diagnosis(text, f"see `kubectl describe pod {pod}`", 15, pod)
    text = f"{whose} ends with exit code {code}" + (f", {starts + 1} times" if looping else "")
    if code in _KILLED and (probe := _failed_probe(name, events)):
        text = f"{whose} is killed, for {probe}"
    return Diagnosis(text, remedy, patience, pod, name)


def _failed_probe(container: str, events: Sequence[Object]) -> str:
    """Why the kubelet killed it; empty when it did not."""
    for event in events:
        message = str(event.get("message", ""))
        unhealthy = event.get("reason") == "Unhealthy" and _container_of(event) == container
        if unhealthy and message.startswith(("Liveness", "Startup")):
            return shortened(message)
    return ""


def _of_events(pod: Object, events: Sequence[Object]) -> Iterator[Diagnosis]:
    """What only events tell: volumes and probes."""
    name = pod["metadata"]["name"]
    for event in events:
        message = str(event.get("message", ""))
        match event.get("reason"):
            case "FailedMount":
                yield _not_mounted(name, message)
            case "Unhealthy":
                if not is_ready(pod):
                    container = _container_of(event)
                    text = f"container {container} of pod {name} is unhealthy: {shortened(message)}"
                    remedy = f"read `kubectl logs {name} -c {container}`"
                    # What is slow to start is given its time; what has started is not.
                    patience = 180 if message.startswith("Startup probe") else 60
                    yield Diagnosis(text, remedy, patience, name, container)
            case "FailedCreatePodSandBox":
                text = f"the node can't start pod {name}: {shortened(message)}"
                yield Diagnosis(text, f"see `kubectl describe pod {name}`", 45, name)


def _not_mounted(pod: str, message: str) -> Diagnosis:
    if missing := _NO_OBJECT.search(message):
        what = missing[1].lower()
        cause = f"{_KINDS[what]} {missing[2]} does not exist, which pod {pod} mounts"
        return Diagnosis(cause, f"make it; see `kubectl get {what}`", 20, pod)
    text = f"a volume of pod {pod} can't be mounted: {shortened(message)}"
    return Diagnosis(text, f"see `kubectl describe pod {pod}`", 45, pod)


def _container_of(event: Object) -> str:
    """`spec.containers{server}` is about the container server."""
    found = re.search(r"\{(.+)\}", event.get("involvedObject", {}).get("fieldPath", ""))
    return found[1] if found else ""
