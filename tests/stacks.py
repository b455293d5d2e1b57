"""A whole stack on ports of its own, started and stopped by the commands a person uses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processes import clean_environment, free_port

SERVICES = ("vectors", "ranking", "embedding", "llm", "rag", "ingest")
SAMPLES = Path(__file__).parents[1] / "samples"


@dataclass(frozen=True)
class Stack:
    environment: dict[str, str]
    ports: dict[str, int]

    def ullage(self, *arguments: str, check: bool = True, timeout: float = 180) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ullage", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=self.environment,
                              check=False)
        assert not check or done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self.ullage(*arguments, "--json").stdout)

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}"


def stack_in(folder: Path, **settings: str) -> Stack:
    """The environment of a stack in `folder`; nothing is started."""
    ports = {service: free_port() for service in SERVICES}
    named = {f"ULLAGE_{service.upper()}_PORT": str(port) for service, port in ports.items()}
    own = {"ULLAGE_STATE_DIR": str(folder), "ULLAGE_ENABLE_WEB": "false", **named, **settings}
    return Stack(clean_environment(**own), ports)


@contextmanager
def running_stack(folder: Path, *arguments: str, **settings: str) -> Iterator[Stack]:
    """`ullage up --detach`, ready; stopped at the end."""
    stack = stack_in(folder, **settings)
    try:
        stack.ullage("up", "--detach", *arguments)
        yield stack
    finally:
        stack.ullage("down", check=False)
