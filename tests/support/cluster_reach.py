"""Who reaches whom in a cluster, tried from inside pods."""

import json
from collections.abc import Sequence
from typing import Any, Final

from clinical_ai.ports_cluster import Object, Ref
from clinical_ai.waiting import Sighting, wait_until
from tests.support.cluster_site import REGISTRY
from tests.support.production_site import ProductionSite

# A new pod is known to what enforces policies after a moment, so what may be reached is tried for
# a while. What may not be is tried as often as that, after what may be was reached.
_SCRIPT: Final = """\
import json, socket, sys, time
def connects(host, port):
    try:
        socket.create_connection((host, port), timeout=2).close()
        return True
    except OSError:
        return False
allowed, forbidden = json.loads(sys.argv[1])
end, missing = time.monotonic() + 30, [tuple(it) for it in allowed]
while missing and time.monotonic() < end:
    missing = [it for it in missing if not connects(*it)]
reached = [it for _ in range(2) for it in forbidden if connects(*it)]
print(json.dumps([missing, reached]))
"""
Place = tuple[str, int]
VAULT: Final[Place] = ("vault.vault.svc.cluster.local", 8200)


def reach(
    site: ProductionSite,
    pod: str,
    *,
    allowed: Sequence[Place] = (),
    forbidden: Sequence[Place] = (),
    namespace: str = "",
) -> tuple[list[Any], list[Any]]:
    """From that pod: what of `allowed` is not reached, and what of `forbidden` is."""
    asked = json.dumps([allowed, forbidden])
    told = site.run_in(pod, "python3", "-c", _SCRIPT, asked, namespace=namespace)
    missing, reached = json.loads(told)
    return missing, reached


def stranger(
    site: ProductionSite, name: str, namespace: str, labels: dict[str, str] | None = None
) -> str:
    """A pod that runs until it is removed; locked down, as the namespace may ask."""
    container: dict[str, Any] = {
        "name": "stranger",
        "image": f"{REGISTRY}/python:3.13",
        "command": ["python3", "-c", "import signal; signal.sigwait([15])"],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    about = {"name": name, "namespace": namespace, "labels": labels or {}}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 1}
    site.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec})
    ref = Ref("v1", "Pod", name, namespace)

    def look() -> Sighting:
        phase = site.api.get(ref).get("status", {}).get("phase", "")
        return Sighting(phase == "Running", phase)

    wait_until(f"pod {name}", look, seconds=60)
    return name


def address_of(found: Object) -> str:
    """Of a pod: past its Service."""
    return str(found["status"]["podIP"])
