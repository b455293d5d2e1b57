"""What stands between a server and its callers: TLS, keys, the gRPC port, and whose status codes it speaks."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import FastAPI
from starlette.middleware import Middleware

from ullage.http.dialects import nim
from ullage.http.keys import NO_KEYS, KeyMiddleware, Keys
from ullage.http.rate import RateMiddleware
from ullage.http.tls import Tls
from ullage.settings import Service, Settings
from ullage.settings.model import bracketed

NIMS: tuple[Service, ...] = ("ranking", "embedding")
"""Services whose codes differ from one NIM version to the next."""

NEWEST_1X = "1.10"


@dataclass(frozen=True, slots=True)
class Door:
    """The default is open: plain HTTP, no keys, no gRPC, the codes of NIM 1.10, any number of requests.

    `rate_limit` is requests a second from one address.
    """

    host: str = "127.0.0.1"
    tls: Tls | None = None
    keys: Keys = NO_KEYS
    nim_version: str = NEWEST_1X
    grpc_port: int | None = None
    rate_limit: float | None = None

    @classmethod
    def of(cls, settings: Settings, service: Service) -> Door:
        """Raises SettingsError when certificate and key, or the API keys, cannot be used."""
        return cls(
            host=settings.host,
            tls=Tls.of(settings.tls_cert, settings.tls_key),
            keys=Keys.of(settings.api_keys.get_secret_value() if settings.api_keys is not None else ""),
            nim_version=settings.nim_version if service in NIMS else NEWEST_1X,
            grpc_port=getattr(settings, f"{service}_grpc_port", None),
            rate_limit=settings.rate_limit,
        )

    @property
    def generation(self) -> int:
        """1 or 2."""
        return int(self.nim_version.partition(".")[0])

    @property
    def bracketed_host(self) -> str:
        return bracketed(self.host)


def hang(app: FastAPI, door: Door) -> None:
    """Give an app that has not started its keys and status codes. Once; a second time changes nothing.

    Its middleware must begin with the one that logs and counts, so that a refusal is logged and counted too.
    """
    if getattr(app.state, "door", None) is not None:
        return
    app.state.door = door
    app.state.dialect = nim(door.nim_version)
    app.state.dialects = {}
    if door.keys:
        app.user_middleware.insert(1, Middleware(KeyMiddleware, keys=door.keys))
    if door.rate_limit is not None:
        app.user_middleware.insert(1, Middleware(RateMiddleware, per_s=door.rate_limit))
