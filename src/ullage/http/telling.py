"""What a contract's body has no room for goes into headers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

HEADER_CHARACTERS = 4000
"""Of one header. Common clients refuse a field of more than 8,190 bytes."""


def told(seconds: Mapping[str, float], cut: Sequence[int], *, tokens: Sequence[int] = (),
         windows: Sequence[int] = (), revision: str = "") -> dict[str, str]:
    """`Server-Timing` maps a phase to its milliseconds, `X-Ullage-Tokens` lists the tokens of each text,
    `X-Ullage-Truncated` maps a text's index to the tokens cut from it, `X-Ullage-Windows` to the windows it was read
    in.

    What does not fit a header ends in `"more"` and the number of entries left out.
    """
    headers = {"Server-Timing": ", ".join(f"{name};dur={value * 1e3:.2f}" for name, value in seconds.items())}
    if revision:
        headers["X-Ullage-Model-Revision"] = revision
    if tokens:
        headers["X-Ullage-Tokens"] = _listed(tokens)
    shortened = {index: count for index, count in enumerate(cut) if count}
    if shortened:
        headers["X-Ullage-Truncated"] = _mapped(shortened)
    split = {index: count for index, count in enumerate(windows) if count > 1}
    if split:
        headers["X-Ullage-Windows"] = _mapped(split)
    return headers


def _listed(values: Sequence[int]) -> str:
    return _bounded([str(value) for value in values], "[{}]", '{{"more":{}}}')


def _mapped(values: Mapping[int, int]) -> str:
    return _bounded([f'"{index}":{count}' for index, count in values.items()], "{{{}}}", '"more":{}')


def _bounded(parts: list[str], around: str, more: str) -> str:
    """JSON of as many parts as fit; the last entry counts the others."""
    kept = size = 0
    for part in parts:
        size += len(part) + 1
        if size > HEADER_CHARACTERS:
            break
        kept += 1
    left_out = [more.format(len(parts) - kept)] if kept < len(parts) else []
    return around.format(",".join(parts[:kept] + left_out))
