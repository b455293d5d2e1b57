"""Who may see the page, and what a browser is told not to do with it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ullage.http.keys import OPEN, Keys
from ullage.settings import LOOPBACK
from ullage.web.looks import page

SESSION = "ullage_session"
VISITOR = "ullage_visitor"
SESSION_S = 12 * 3600
VISITOR_S = 30 * 24 * 3600
WRONG_KEY_S = 0.5
"""How long a wrong key waits for its answer."""

LONGEST_FORM = 4096
FOREIGN = ("this page is for browsers of its own machine: open it as 127.0.0.1 or localhost, or set host and api_keys "
           "to have it reached by another name")
_VISITOR = re.compile(r"[0-9a-f]{32}")

POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' ws: wss:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
"""Whatever a document manages to put on the page, nothing is fetched from elsewhere and nothing is sent there."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True, slots=True, repr=False)
class Sessions:
    """Signed by the keys: a session outlives a restart of the page and ends when the keys change."""

    keys: Keys

    def begin(self) -> str:
        until = int(time.time()) + SESSION_S
        return f"{until}.{self._sign(until)}"

    def holds(self, cookie: str) -> bool:
        until, _, signature = cookie.partition(".")
        if not until.isascii() or not until.isdigit() or len(until) > 12 or int(until) < time.time():
            return False
        return hmac.compare_digest(signature.encode(), self._sign(int(until)).encode())

    def _sign(self, until: int) -> str:
        secret = hashlib.sha256(b"ullage web session\0" + b",".join(self.keys.keys)).digest()
        return hmac.new(secret, str(until).encode(), hashlib.sha256).hexdigest()


class GuardMiddleware:
    """Without a session, or a key in a header, a person is sent to `/login` and a program gets 401.

    With `loopback` and without keys it is for this machine's browsers alone: a request under another name, or from
    another site's page, is refused, because that site could have made its own name lead here.

    It gives every browser an id of its own in a cookie (`scope["state"]["visitor"]`), under which its conversation is
    kept.
    """

    def __init__(self, app: ASGIApp, *, keys: Keys, secure: bool, loopback: bool = False) -> None:
        self._app = app
        self._keys = keys
        self._sessions = Sessions(keys)
        self._secure = secure
        self._at_home = loopback and not keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        cookies = _cookies(scope)
        visitor = cookies.get(VISITOR, "")
        known = _VISITOR.fullmatch(visitor) is not None
        scope.setdefault("state", {})["visitor"] = visitor if known else secrets.token_hex(16)
        new = scope["type"] == "http" and not known and "text/html" in _header(scope, b"accept")
        sending = self._protecting(send, scope["state"]["visitor"] if new else None)
        path = scope["path"]
        if self._at_home and path not in OPEN and not _from_here(scope):
            await _refuse(scope, send, 421, FOREIGN)
        elif path == "/login" and scope["type"] == "http":
            await self._login(scope, receive, sending)
        elif path in OPEN or path.startswith("/look/") or self._admits(scope, cookies):
            await self._app(scope, receive, sending)
        elif _is_person(scope):
            await RedirectResponse("/login", 303)(scope, receive, sending)
        else:
            await _refuse(scope, sending, 401, Keys.REFUSAL)

    def _admits(self, scope: Scope, cookies: dict[str, str]) -> bool:
        if not self._keys or self._sessions.holds(cookies.get(SESSION, "")):
            return True
        return self._keys.admit(_header(scope, b"authorization"), _header(scope, b"x-api-key"))

    def _protecting(self, send: Send, visitor: str | None) -> Send:
        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if visitor is not None:
                    headers.append("set-cookie", self._cookie(VISITOR, visitor, VISITOR_S))
            await send(message)

        return protected

    def _cookie(self, name: str, value: str, seconds: int) -> str:
        return (f"{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax"
                f"{'; Secure' if self._secure else ''}")

    async def _login(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response: Response = RedirectResponse("/", 303)
        if self._keys and request.method == "POST":
            key = await _given_key(request)
            if self._keys.admit("", key):
                response.headers.append("set-cookie", self._cookie(SESSION, self._sessions.begin(), SESSION_S))
            else:
                await asyncio.sleep(WRONG_KEY_S)
                response = HTMLResponse(page("login.html", fault="This key is not one of the keys of this page."), 401)
        elif self._keys:
            response = HTMLResponse(page("login.html", fault=""))
        await response(scope, receive, send)


async def _given_key(request: Request) -> str:
    """The form's `key`; empty for a form that holds none or is too long."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > LONGEST_FORM:
            return ""
    return parse_qs(body.decode("utf-8", "replace")).get("key", [""])[0].strip()


def _is_person(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["method"] == "GET" and "text/html" in _header(scope, b"accept")


def _from_here(scope: Scope) -> bool:
    """Named as this machine, and sent by a page of its own or by none."""
    names = [_header(scope, b"host")]
    if origin := _header(scope, b"origin"):
        names.append(urlsplit(origin).netloc)
    return all((urlsplit(f"//{name}").hostname or "") in LOOPBACK for name in names)


async def _refuse(scope: Scope, send: Send, status: int, why: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": why[:120]})
        return
    kind = "authentication_error" if status == 401 else "invalid_request_error"
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    await JSONResponse({"message": why, "type": kind}, status, headers=headers)(scope, _nothing, send)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def _header(scope: Scope, name: bytes) -> str:
    """Its last value; empty without one."""
    return next((value.decode("latin-1") for key, value in reversed(scope["headers"]) if key == name), "")


def _cookies(scope: Scope) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        if name == b"cookie":
            try:
                found |= {key: morsel.value for key, morsel in SimpleCookie(value.decode("latin-1")).items()}
            except CookieError:
                continue
    return found
