"""The doctor's findings about this machine, from its command: the page knows it by what it prints."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import Any

from ullage.errors import DeadlineExceeded, DependencyDown

COMMAND = (sys.executable, "-m", "ullage", "doctor", "look", "--json")
LOOK_S = 60.0
LANGUAGE = "en"


async def findings(command: tuple[str, ...] = COMMAND, timeout_s: float = LOOK_S) -> list[dict[str, Any]]:
    """Ranked by cause. Its process ends with the caller. Raises DependencyDown or DeadlineExceeded."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(timeout_s):
            out, complaint = await process.communicate()
    except TimeoutError:
        raise DeadlineExceeded(f"the doctor did not finish within {timeout_s:g} s: run `ullage doctor look`") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    try:
        return [_read(found) for found in json.loads(out)["findings"]]
    except (ValueError, KeyError, TypeError):
        said = " ".join(complaint.decode("utf-8", "replace").split())[-200:]
        raise DependencyDown(f"the doctor gave no findings (exit code {process.returncode}): {said or 'nothing said'}"
                             ) from None


def _read(found: dict[str, Any]) -> dict[str, Any]:
    """Titles come in several languages; evidence with where it was found."""
    texts = {name: found[name][LANGUAGE] for name in ("title", "cause", "remedy")}
    evidence = [f"{one['source']}: {one['text']}" if one["source"] else one["text"] for one in found["evidence"]]
    return {"id": found["id"], "severity": found["severity"], **texts, "evidence": evidence,
            "commands": list(found["commands"])}
