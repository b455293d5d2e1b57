"""A server's certificate and key, proved before anything is loaded."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from ullage.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files: `cert` the certificate with its chain, `key` its private key without a password."""

    cert: Path
    key: Path

    @classmethod
    def of(cls, cert: Path | None, key: Path | None) -> Tls | None:
        """None when neither is set. Raises SettingsError, in one line, for a pair that no client could talk to."""
        if cert is None and key is None:
            return None
        if cert is None or key is None:
            given, missing = ("tls_cert", "tls_key") if key is None else ("tls_key", "tls_cert")
            raise SettingsError(f"{given} is set and {missing} is not: set both, or neither")
        for name, path in (("tls_cert", cert), ("tls_key", key)):
            if not path.is_file():
                raise SettingsError(f"{name}={path} is not a file: give a PEM file")
        pair = cls(cert, key)
        _prove(pair.server_context(), pinned_context(cert), cert)
        return pair

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        asked = False

        def password() -> str:
            nonlocal asked
            asked = True
            return ""

        try:
            context.load_cert_chain(self.cert, self.key, password)
        except (ssl.SSLError, OSError, ValueError) as error:
            raise SettingsError(_why(self, error, encrypted=asked)) from None
        return context


def pinned_context(cert: Path) -> ssl.SSLContext:
    """For a client that talks to a server of ours: it must present this certificate, under whatever name.

    Raises SettingsError when the file holds no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cadata=_first_certificate(cert))
    except (ssl.SSLError, OSError, ValueError) as error:
        raise SettingsError(f"tls_cert={cert} holds no certificate in PEM: {_reason(error)}") from None
    return context


def _first_certificate(cert: Path) -> str:
    text = cert.read_text(encoding="ascii", errors="replace")
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    body = text.partition(begin)[2].partition(end)
    if not body[1]:
        raise ValueError("it has no BEGIN CERTIFICATE")
    return f"{begin}{body[0]}{end}\n"


def _why(pair: Tls, error: Exception, *, encrypted: bool) -> str:
    if encrypted:
        return f"tls_key={pair.key} is encrypted: give a key without a password"
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return f"tls_key={pair.key} does not belong to tls_cert={pair.cert}: give the key that the certificate is for"
    return f"tls_cert={pair.cert} and tls_key={pair.key} cannot be used: {_reason(error)}"


def _prove(server: ssl.SSLContext, client: ssl.SSLContext, cert: Path) -> None:
    """A handshake in memory, which fails as a client's would: expired, or not valid yet."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)]
    waiting = list(sides)
    try:
        while waiting:
            waiting = [side for side in waiting if not _shaken(side)]
    except ssl.SSLCertVerificationError as error:
        raise SettingsError(f"tls_cert={cert} would be refused by clients: {error.verify_message}; renew it") from None
    except ssl.SSLError as error:
        raise SettingsError(f"tls_cert={cert} makes no TLS connection: {_reason(error)}") from None


def _shaken(side: ssl.SSLObject) -> bool:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _reason(error: Exception) -> str:
    said = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(said).split()).lower().replace("_", " ")
