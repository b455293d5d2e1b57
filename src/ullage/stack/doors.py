"""The keys of this process to the services beside it: what `api_keys` and `tls_cert` mean for our own clients."""

from __future__ import annotations

import ssl

from ullage.clients.door import open_doors
from ullage.http.tls import pinned_context
from ullage.settings import ALL_SERVICES, Settings


def take_keys(settings: Settings) -> None:
    """Before any client is made. Raises SettingsError when `tls_cert` holds no certificate.

    Services of this machine get our key and must show our certificate, under whatever name. Those that a URL names get
    the key of their own setting; ours would be known to whoever answers there. Our certificate is trusted there too, as
    long as it bears the name in the URL.
    """
    if settings.api_keys is None and settings.tls_cert is None:
        return
    named = {service: settings.named_url(service) for service in ALL_SERVICES if service != "vectors"}
    ours = [settings.url(service) for service, url in named.items() if not url]
    open_doors(ours, key=_first_key(settings),
               context=pinned_context(settings.tls_cert) if settings.tls_cert is not None else None)
    if settings.tls_cert is not None:
        context = ssl.create_default_context()
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(settings.tls_cert)
        open_doors([url for url in named.values() if url.startswith("https://")], context=context)


def _first_key(settings: Settings) -> str:
    given = settings.api_keys.get_secret_value() if settings.api_keys is not None else ""
    return next((key.strip() for key in given.split(",") if key.strip()), "")
