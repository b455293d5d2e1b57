"""What a server says of itself: models, metadata, manifest, licence, version."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI

from ullage.version import __version__


@dataclass(slots=True)
class ServiceInfo:
    """`ledger` maps each part of the plan to bytes; `models` may be empty. `metadata` is said in `/v1/metadata` too."""

    service: str
    models: tuple[str, ...] = ()
    revision: str = ""
    licence: str = "Apache-2.0"
    profile: str = ""
    ledger: dict[str, int] = field(default_factory=dict)
    model_fields: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def planned_bytes(self) -> int:
        return sum(self.ledger.values())


def add_identity_routes(app: FastAPI, info: ServiceInfo) -> None:
    created = int(time.time())

    @app.get("/v1/models", tags=["identity"])
    async def models() -> dict[str, object]:
        return {
            "object": "list",
            "data": [
                {"id": name, "object": "model", "created": created, "owned_by": "ullage",
                 "root": info.models[0], **info.model_fields}
                for name in info.models
            ],
        }

    @app.get("/v1/metadata", tags=["identity"])
    async def metadata() -> dict[str, object]:
        return {
            "version": __version__,
            "modelInfo": [
                {"modelUrl": name, "shortName": f"{name.rsplit('/', 1)[-1]}:{info.revision or __version__}"}
                for name in info.models
            ],
            "repository_override": "",
            "assetInfo": [],
            "licenseInfo": _licence(info),
            "profile": info.profile,
            **info.metadata,
        }

    @app.get("/v1/manifest", tags=["identity"])
    async def manifest() -> dict[str, object]:
        """The model that is served, its exact weights and the profile that runs."""
        return {
            "service": info.service,
            "release": __version__,
            "models": [{"name": name, "revision": info.revision} for name in info.models],
            "profile": info.profile,
            "planned_bytes": info.planned_bytes,
        }

    @app.get("/v1/license", tags=["identity"])
    async def licence() -> dict[str, object]:
        return _licence(info)

    @app.get("/v1/version", tags=["identity"])
    async def version() -> dict[str, str]:
        door = getattr(app.state, "door", None)
        nim_version = door.nim_version if door is not None else "1.10"
        return {"release": __version__, "api": f"{nim_version}.0"}


def _licence(info: ServiceInfo) -> dict[str, object]:
    """Of the model's weights."""
    return {"name": info.licence, "path": "", "sha": "", "size": 0, "url": "", "type": "file", "content": info.licence}
