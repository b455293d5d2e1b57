"""API keys: who may call. Health is open to everybody, and so is everything where no key is set."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from typing import ClassVar

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ullage.errors import SettingsError
from ullage.http.dialects import Said, dialect_of

OPEN = ("/v1/health/live", "/v1/health/ready", "/v1/health", "/health")


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """Any of `keys` admits. None of them is ever shown."""

    REFUSAL: ClassVar[str] = (
        "this service wants an API key: send one of api_keys as `Authorization: Bearer KEY` or `X-API-Key`"
    )
    keys: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, text: str) -> Keys:
        """Keys between commas; blanks around them do not count. Raises SettingsError for what no caller could send."""
        keys = [key for part in text.split(",") if (key := part.strip())]
        if text.strip() and not keys:
            raise SettingsError("api_keys holds no key between its commas: write one, or leave it out")
        for place, key in enumerate(keys, 1):
            if not re.fullmatch(r"[!-~]+", key):
                raise SettingsError(f"api_keys, key {place}, holds characters that no header carries: "
                                    "letters, digits and ASCII punctuation do")
        return cls(tuple(key.encode() for key in keys))

    def __bool__(self) -> bool:
        return bool(self.keys)

    def admit(self, authorization: str, api_key: str) -> bool:
        """Whether either header holds a key. Every key is compared, in constant time."""
        scheme, _, token = authorization.partition(" ")
        given = [token.strip()] if scheme.lower() == "bearer" else []
        given += [api_key.strip()] if api_key else []
        matches = [hmac.compare_digest(text.encode(), key) for text in given for key in self.keys]
        return any(matches)


NO_KEYS = Keys()


class KeyMiddleware:
    """Answers 401 without a key."""

    def __init__(self, app: ASGIApp, *, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"] in OPEN or self._admits(scope):
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": Keys.REFUSAL})
            return
        body = dialect_of(scope).body(Said(Keys.REFUSAL, "authentication_error", 401))
        await JSONResponse(body, 401, headers={"WWW-Authenticate": "Bearer"})(scope, receive, send)

    def _admits(self, scope: Scope) -> bool:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        return self._keys.admit(headers.get(b"authorization", ""), headers.get(b"x-api-key", ""))
