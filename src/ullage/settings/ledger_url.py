"""Where the ledgers are that several machines reach: `postgresql://user:password@host:port/name`."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import SecretStr

PORT = 5432
WANTED = "write postgresql://user:password@host:port/name, odd letters as %XX; or nothing, for SQLite"

_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_MORE = ("sslmode", "sslrootcert", "sslcert", "sslkey")
"""Parameters of the driver that a URL may carry after `?`. None of them is a secret, and `password` is none of them."""


@dataclass(frozen=True, slots=True)
class LedgerUrl:
    """`str` of it may be shown: neither user nor password. `more` are the driver's own parameters, of TLS."""

    user: str = field(repr=False)
    password: str = field(repr=False)
    host: str
    port: int
    name: str
    more: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"postgresql://{host}:{self.port}/{self.name}"

    @classmethod
    def of(cls, text: str) -> LedgerUrl:
        """Raises ValueError with what would be right, and nothing of the text: a password is in it."""
        try:
            parts = urlsplit(text)
            more = tuple(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
            url = cls(unquote(parts.username or ""), unquote(parts.password or ""), parts.hostname or "",
                      parts.port or PORT, unquote(parts.path.removeprefix("/")), more)
        except ValueError:
            raise ValueError(WANTED) from None
        plain = all(part.isprintable() for part in (text, url.user, url.password, url.name)) and not parts.fragment
        if parts.scheme != "postgresql" or not (url.user and url.host and url.name and plain) or "/" in url.name:
            raise ValueError(WANTED)
        if wrong := [name for name, _ in more if name not in _MORE]:
            raise ValueError(f"after ? only {', '.join(_MORE)} may stand: leave out the other {len(wrong)}")
        if any(name == "sslmode" and value not in _SSL_MODES for name, value in more):
            raise ValueError(f"sslmode is one of {', '.join(_SSL_MODES)}")
        return url


def checked(secret: SecretStr) -> SecretStr:
    """The setting as it came, without blanks around it. Raises ValueError."""
    text = secret.get_secret_value().strip()
    if text:
        LedgerUrl.of(text)
    return SecretStr(text)
