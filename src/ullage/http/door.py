"""What stands between a server and its callers: TLS, keys, the gRPC port, and whose status codes it speaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from starlette.middleware import Middleware

from ullage.http.dialects import nim
from ullage.http.keys import NO_KEYS, KeyMiddleware, Keys
from ullage.http.tls import Tls
from ullage.settings import Service, Settings
from ullage.settings.model import bracketed


@dataclass(frozen=True, slots=True)
class Door:
    """The default is open: plain HTTP, no keys, no gRPC, the codes of NIM 1.10."""

    host: str = "127.0.0.1"
    tls: Tls | None = None
    keys: Keys = NO_KEYS
    nim_version: str = "1.10"
    grpc_port: int | None = None

    @classmethod
    def of(cls, settings: Settings, service: Service) -> Door:
        """Raises SettingsError when certificate and key cannot be used."""
        told: dict[str, Any] = settings.model_dump(
            include={"tls_cert", "tls_key", "api_keys", "nim_version", f"{service}_grpc_port"}
        )
        secret = told.get("api_keys")
        return cls(
            host=settings.host,
            tls=Tls.of(told.get("tls_cert"), told.get("tls_key")),
            keys=Keys.of(secret.get_secret_value() if secret is not None else ""),
            nim_version=told.get("nim_version", "1.10"),
            grpc_port=told.get(f"{service}_grpc_port"),
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
