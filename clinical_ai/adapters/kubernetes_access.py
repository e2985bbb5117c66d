"""Where the API server is and who we are to it: a kubeconfig, or the account of this pod.

Read by kubernetes_asyncio, which the Kubernetes worker brings along; docs/decisions says where it
is not followed. It takes half a second to import, so only what speaks to a cluster does.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from clinical_ai.adapters.proxies import find_proxy
from clinical_ai.errors import NeedsOperator, nearest

if TYPE_CHECKING:
    from kubernetes_asyncio.client import Configuration
    from kubernetes_asyncio.config.kube_config import KubeConfigLoader, KubeConfigMerger

log = logging.getLogger(__name__)
# It logs what it raises as well, such as all that a login program printed. Told as ours, once.
logging.getLogger("kubernetes_asyncio.config").setLevel(logging.CRITICAL)

_NO_KUBECONFIG: Final = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, AssertionError),
    yaml.YAMLError,
)
_POD: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_POD_HOST: Final = "KUBERNETES_SERVICE_HOST"
_LOOK: Final = "see `kubectl config view` and whether `kubectl version` works"


@dataclass(frozen=True)
class Access:
    """A way to an API server. `authorization` is asked before each request: tokens are renewed."""

    host: str
    trust: ssl.SSLContext
    namespace: str
    who: str
    authorization: Callable[[], str] = str
    server_name: str = ""
    proxy: str | None = None


def load_access(
    environ: Mapping[str, str], *, kubeconfig: str = "", context: str = "", pod: Path = _POD
) -> Access:
    """The kubeconfig that is named, or kubectl's, or else the account of this pod.

    Runs the login program that a kubeconfig names (`aws eks get-token`, ...).
    """
    home = Path(environ.get("HOME", "/"), ".kube", "config")
    paths = kubeconfig or environ.get("KUBECONFIG", "") or (str(home) if home.exists() else "")
    if paths:
        return _from_kubeconfig(paths, context, environ)
    if (pod / "token").exists() and environ.get(_POD_HOST):
        return _from_pod(pod, environ)
    raise NeedsOperator(
        f"no cluster is named: neither KUBECONFIG nor {home} is there, and this is no pod",
        "set KUBECONFIG",
    )


def _from_kubeconfig(paths: str, context: str, environ: Mapping[str, str]) -> Access:
    from kubernetes_asyncio.client import Configuration
    from kubernetes_asyncio.config import ConfigException
    from kubernetes_asyncio.config.kube_config import KubeConfigLoader, KubeConfigMerger

    try:
        merged = KubeConfigMerger(paths)
        if merged.config is None:
            raise NeedsOperator(f"there is no kubeconfig at {paths}", "set KUBECONFIG")
        _refuse_unsupported(merged)
        _refuse_unknown(merged, paths, context)
        loader = KubeConfigLoader(
            merged.config, active_context=context or None, config_base_path=None
        )
        configuration = Configuration()
        _run(lambda: loader.load_and_set(configuration))
        return _access(configuration, loader, environ)
    except ConfigException as error:
        raise NeedsOperator(f"kubeconfig {paths}: {_told(error)}", _LOOK) from None
    except FileNotFoundError as error:  # of a login program that it names
        problem = f"kubeconfig {paths} needs {error.filename}, which is not there"
        raise NeedsOperator(problem, "install it, or name another context") from None
    except _NO_KUBECONFIG as error:
        # What a file that is no kubeconfig makes the library raise; its texts repeat the content.
        raise NeedsOperator(
            f"kubeconfig {paths} can't be read ({type(error).__name__})", _LOOK
        ) from None


def _access(
    configuration: "Configuration", loader: "KubeConfigLoader", environ: Mapping[str, str]
) -> Access:
    chosen = loader.current_context or {}
    token = str(configuration.api_key.get("BearerToken", "")).strip()
    host = str(configuration.host)
    return Access(
        host=host,
        trust=_trust(configuration),
        namespace=chosen.get("context", {}).get("namespace") or "default",
        who=f"context {chosen.get('name')}",
        authorization=lambda: token,
        server_name=configuration.tls_server_name or "",
        proxy=configuration.proxy or find_proxy(host, environ),
    )


def _from_pod(pod: Path, environ: Mapping[str, str]) -> Access:
    from kubernetes_asyncio.client import Configuration
    from kubernetes_asyncio.config import ConfigException, load_incluster_config

    configuration = Configuration()
    try:
        load_incluster_config(
            configuration,
            token_filename=str(pod / "token"),
            cert_filename=str(pod / "ca.crt"),
            environ=dict(environ),
        )
        namespace = (pod / "namespace").read_text().strip()
    except (ConfigException, OSError) as error:
        raise NeedsOperator(
            f"the account of this pod can't be used: {error}",
            "see automountServiceAccountToken of the pod and of its ServiceAccount",
        ) from None

    read_again: Any = configuration.refresh_api_key_hook  # the token's file, after a minute

    def renewed() -> str:
        read_again(configuration)
        return str(configuration.api_key["BearerToken"]).strip()

    return Access(
        host=str(configuration.host),
        trust=_trust(configuration),
        namespace=namespace,
        who="the service account of this pod",
        authorization=renewed,
        proxy=find_proxy(str(configuration.host), environ),
    )


def _trust(configuration: "Configuration") -> ssl.SSLContext:
    trust = ssl.create_default_context(cafile=configuration.ssl_ca_cert or None)
    # Certificates that clusters make for themselves often lack the extensions that Python 3.13
    # asks for and kubectl does not. Chain, name and dates are checked all the same.
    trust.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if configuration.cert_file:
        trust.load_cert_chain(configuration.cert_file, configuration.key_file)
    if not configuration.verify_ssl:
        log.warning(
            "the kubeconfig says insecure-skip-tls-verify: who answers at %s is not checked, "
            "anybody in between can read every secret",
            configuration.host,
        )
        trust.check_hostname = False
        trust.verify_mode = ssl.CERT_NONE
    return trust


def _refuse_unsupported(merged: "KubeConfigMerger") -> None:
    """What the library would pass over in silence, or do without checking a certificate."""
    users: list[Any] = merged.config.value["users"] if merged.config else []
    for user in (node.value.get("user") or {} for node in users):
        if "as" in user:
            raise NeedsOperator(
                "the kubeconfig acts as somebody else (`as`), which is not supported",
                "name a context without it",
            )
        # It asks the identity provider for a new token without looking at its certificate.
        (user.get("auth-provider", {}).get("config") or {}).pop("refresh-token", None)


def _refuse_unknown(merged: "KubeConfigMerger", paths: str, context: str) -> None:
    """The context that is asked for, or the current one; the library tells no name."""
    whole: dict[str, Any] = merged.config.value if merged.config else {}
    known = [str(node.value["name"]) for node in whole["contexts"]]
    chosen = context or whole.get("current-context")
    if not chosen:
        remedy = f"name one with --context: {', '.join(known)}"
        raise NeedsOperator(f"kubeconfig {paths} has no current context", remedy)
    if chosen not in known:
        problem = f"kubeconfig {paths} has no context {chosen!r}"
        raise NeedsOperator(problem, nearest(chosen, known))


def _told(error: Exception) -> str:
    """The library's text when it is about a login; others may repeat a user's entry whole."""
    text = str(error)
    if text.startswith("oidc: No valid id-token"):
        return "the token has expired; any kubectl command renews it"
    return text if text.startswith("exec: process returned") else "an entry is missing or wrong"


def _run(load: Callable[[], Any]) -> None:
    """In a thread, where no event loop can be running yet."""

    async def loading() -> None:
        await load()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, loading()).result()
