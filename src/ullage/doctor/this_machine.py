"""Gather what can be seen of this machine: GPUs and driver, disks, ports, clock, cache, and who answers."""

from __future__ import annotations

import asyncio
import ctypes
import re
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pynvml

from ullage.devices import Disk, Machine, detect
from ullage.errors import ModelCorrupt, ModelError, ModelNotFound, SettingsError
from ullage.http.tls import pinned_context
from ullage.models.card import Role
from ullage.models.files import locate
from ullage.models.resolve import resolve
from ullage.settings import ALL_SERVICES, Settings
from ullage.settings.model import reachable

TIMEOUT_S = 2.0
UNSYNCHRONISED = 5
"""What adjtimex answers where nobody keeps the kernel's clock in step."""

_TIMEX_BYTES = 512
_TORCH_CUDA = re.compile(r"^cuda[^=\n]{0,40}= *'(\d{1,3}\.\d{1,3})'", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Driver:
    """`cuda` is the newest CUDA that the driver supports; `licences` say per GPU index what its vGPU licence is."""

    version: str = ""
    cuda: tuple[int, int] | None = None
    licences: Mapping[int, str] | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """A service of our running stack as its supervisor knows it, sizes in bytes. `cert` is what its port must show."""

    service: str
    url: str
    grpc: bool = False
    predicted_bytes: int = 0
    resident_bytes: int = 0
    restarts: int = 0
    reason: str = ""
    log: str = ""
    cert: Path | None = None


@dataclass(frozen=True, slots=True)
class Answers:
    """What a service says over the wire; `reason` is what it said or why nothing came."""

    live: bool
    ready: bool
    metrics: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """All of it. `plan_fault` is why the plan does not fit, `running` is None where no stack runs."""

    machine: Machine
    driver: Driver
    root: Disk
    state_dir: Path
    torch_cuda: tuple[int, int] | None = None
    unsynchronised: bool = False
    now_unix_s: float = 0.0
    newest_file_unix_s: float = 0.0
    taken_ports: tuple[tuple[str, int, str], ...] = ()
    missing: tuple[tuple[str, str], ...] = ()
    corrupt: tuple[tuple[str, str], ...] = ()
    running: tuple[tuple[Running, Answers], ...] | None = None
    plan_fault: str = ""


def look(settings: Settings, running: Sequence[Running] | None, plan_fault: str = "", *, nvml: Any = pynvml) -> Seen:
    """This machine now. `running` are the services of our stack, None when none runs."""
    missing, corrupt = _cache(settings)
    usage = psutil.disk_usage("/")
    return Seen(
        machine=detect(cache_dir=settings.cache_dir, nvml=nvml), driver=driver(nvml),
        root=Disk("/", usage.total, usage.free), state_dir=settings.state_dir, torch_cuda=_torch_cuda(),
        unsynchronised=_unsynchronised(), now_unix_s=time.time(),
        newest_file_unix_s=max(path.stat().st_mtime for path in Path(__file__).parent.glob("*.py")),
        taken_ports=tuple(_taken(settings, {urlsplit(one.url).port for one in running or ()})),
        missing=missing, corrupt=corrupt,
        running=None if running is None else tuple(zip(running, asyncio.run(_ask_all(running)), strict=True)),
        plan_fault=plan_fault,
    )


def driver(nvml: Any = pynvml) -> Driver:
    """The NVIDIA driver; an empty one where there is none. Never raises for what it does not tell."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return Driver()
    try:
        version, cuda = _told(nvml, "nvmlSystemGetDriverVersion"), _told(nvml, "nvmlSystemGetCudaDriverVersion_v2")
        count = _told(nvml, "nvmlDeviceGetCount") or 0
        licences = {number: state for number in range(count) if (state := _licence(nvml, number))}
        return Driver(version.decode() if isinstance(version, bytes) else str(version or ""),
                      (cuda // 1000, cuda % 1000 // 10) if cuda else None, licences)
    finally:
        nvml.nvmlShutdown()


def _told(nvml: Any, call: str, *arguments: Any) -> Any:
    try:
        return getattr(nvml, call)(*arguments)
    except (nvml.NVMLError, AttributeError):
        return None


def _licence(nvml: Any, number: int) -> str:
    """`licensed` or `unlicensed` of a vGPU; empty for a GPU that needs none."""
    handle = _told(nvml, "nvmlDeviceGetHandleByIndex", number)
    features = None if handle is None else _told(nvml, "nvmlDeviceGetGridLicensableFeatures_v4", handle)
    if not features or not getattr(features, "isGridLicenseSupported", 0):
        return ""
    every = list(features.gridLicensableFeatures)[:int(features.licensableFeaturesCount)]
    return "licensed" if any(getattr(feature, "featureState", 0) for feature in every) else "unlicensed"


def _torch_cuda() -> tuple[int, int] | None:
    """The CUDA that the installed PyTorch was built for, read from its file: importing it takes seconds."""
    found = find_spec("torch")
    version = Path(found.origin).with_name("version.py") if found and found.origin else None
    if version is None or not version.is_file():
        return None
    said = _TORCH_CUDA.search(version.read_text(encoding="utf-8", errors="replace"))
    return (int(said[1].split(".")[0]), int(said[1].split(".")[1])) if said else None


def _unsynchronised() -> bool:
    """Whether the kernel says that nothing keeps its clock; False where it does not say."""
    try:
        return bool(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)) == UNSYNCHRONISED)
    except (OSError, AttributeError):
        return False


def _taken(settings: Settings, ours: set[int | None]) -> list[tuple[str, int, str]]:
    """(service, port, holder) of ports that our services would want and somebody else listens on."""
    try:
        listening = {c.laddr[1]: c.pid for c in psutil.net_connections(kind="tcp")
                     if c.status == psutil.CONN_LISTEN and c.laddr}
    except psutil.AccessDenied:
        return []
    wanted = {settings.port(service): str(service) for service in ALL_SERVICES
              if service != "vision" or settings.enable_vision}
    return [(service, port, _who(listening[port])) for port, service in wanted.items()
            if port in listening and port not in ours]


def _who(pid: int | None) -> str:
    if pid is None:
        return "another user's process"
    try:
        return f"{psutil.Process(pid).name()} (pid {pid})"
    except psutil.Error:
        return f"pid {pid}"


def _cache(settings: Settings) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    """(missing, corrupt), each (model, reason), of the models that the settings name."""
    missing: list[tuple[str, str]] = []
    corrupt: list[tuple[str, str]] = []
    asked: tuple[Role, ...] = ("ranking", "embedding", "llm", *(("vision",) if settings.enable_vision else ()))
    for service in asked:
        name = settings.model(service) or ""
        if getattr(settings, f"{service}_url", ""):
            continue
        try:
            locate(resolve(name, service), settings.cache_dir)
        except ModelNotFound as error:
            missing.append((name, error.message))
        except (ModelCorrupt, ModelError) as error:
            corrupt.append((name, error.message))
    return tuple(dict.fromkeys(missing)), tuple(dict.fromkeys(corrupt))


async def _ask_all(running: Sequence[Running]) -> list[Answers]:
    return list(await asyncio.gather(*(_ask(one) for one in running)))


async def _ask(one: Running) -> Answers:
    if one.grpc:
        found = await asyncio.to_thread(_listens, one.url)
        return Answers(found, found, True, "" if found else "not listening")
    # Without a certificate to hold it to, a plain client; what a service shows must be its own.
    try:
        trust = pinned_context(one.cert) if one.cert else False
    except SettingsError as error:
        return Answers(False, False, False, error.message)
    async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False, verify=trust) as client:
        return await _answers(client, one)


async def _answers(client: httpx.AsyncClient, one: Running) -> Answers:
    live, reason = await _get(client, f"{one.url}/v1/health/live")
    ready, why = await _get(client, f"{one.url}/v1/health/ready")
    metrics = (await _get(client, f"{one.url}/v1/metrics"))[0] or (await _get(client, f"{one.url}/metrics"))[0]
    # The servers of the blueprint's kind have a plain /health and nothing under /v1/health/live.
    alive = live or ready or (await _get(client, f"{one.url}/health"))[0]
    return Answers(alive, ready, metrics, why or reason)


async def _get(client: httpx.AsyncClient, url: str) -> tuple[bool, str]:
    try:
        answer = await client.get(url)
    except httpx.TimeoutException:
        return False, f"no answer within {TIMEOUT_S:g} s"
    except httpx.HTTPError as error:
        return False, str(error) or type(error).__name__
    if answer.status_code == httpx.codes.OK:
        return True, ""
    try:
        body = answer.json()
    except ValueError:
        body = {}
    said = body.get("reason") or body.get("message") if isinstance(body, dict) else ""
    return False, str(said or f"answers {answer.status_code}")


def _listens(url: str) -> bool:
    parts = urlsplit(url)
    try:
        with socket.create_connection((reachable(parts.hostname or ""), parts.port or 0), timeout=TIMEOUT_S):
            return True
    except OSError:
        return False
