"""What a contract's body has no room for goes into headers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from fastapi import Response


def tell(response: Response, seconds: Mapping[str, float], cut: Sequence[int]) -> None:
    """`Server-Timing` from phase to seconds; `X-Ullage-Truncated` maps a text's index to the tokens cut from it."""
    response.headers["Server-Timing"] = ", ".join(f"{name};dur={value * 1e3:.2f}" for name, value in seconds.items())
    shortened = {index: count for index, count in enumerate(cut) if count}
    if shortened:
        response.headers["X-Ullage-Truncated"] = json.dumps(shortened, separators=(",", ":"))
