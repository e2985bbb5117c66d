"""hvac's client, as a pod uses it: for one address, by what it is given and nothing else."""

import ssl
from typing import TYPE_CHECKING, Any, Final

from clinical_ai.settings_vault import VaultAccess

if TYPE_CHECKING:
    from hvac import Client
    from requests.adapters import HTTPAdapter

_SECONDS: Final = (5, 30)  # to connect, and for an answer


def open_client(access: VaultAccess, ca_bundle: str | None, proxy: str | None) -> "Client":
    """Not logged in. Answers of any status are given back, and no redirect is followed.

    The environment of a process could name another address, token, proxy or bundle.
    """
    from hvac import Client
    from hvac.adapters import RawAdapter
    from requests import Session

    session = Session()
    session.trust_env = False
    session.verify = ca_bundle or True
    session.proxies = {"http": proxy, "https": proxy} if proxy else {}
    session.mount("https://", _older_authorities())
    return Client(
        url=access.vault_address,
        token="",  # else one is looked for in the environment and in a file
        namespace=access.vault_namespace,
        session=session,
        timeout=_SECONDS,
        allow_redirects=False,
        adapter=RawAdapter,
        ignore_exceptions=True,
    )


def _older_authorities() -> "HTTPAdapter":
    """From Python 3.13 on, certificates have to keep rules that many a hospital's authority, and
    Vault's agent, don't ask for. Chain, name and dates are verified as ever.
    """
    from requests.adapters import HTTPAdapter
    from urllib3.util import create_urllib3_context

    class Lenient(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **options: Any) -> None:
            super().init_poolmanager(*args, **options, ssl_context=_context())

        def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
            return super().proxy_manager_for(*args, **options, ssl_context=_context())

    def _context() -> ssl.SSLContext:
        return create_urllib3_context(verify_flags=ssl.VERIFY_X509_PARTIAL_CHAIN)

    return Lenient()
