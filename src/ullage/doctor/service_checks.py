"""Judge services beside each other: GPUs they share, health windows, keys, releases, ports, what they wait for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ullage.doctor.catalog import Entry
from ullage.doctor.finding import Finding, evidence
from ullage.doctor.limit_checks import limit_findings
from ullage.doctor.name_checks import both, line_of, name_findings, value_findings
from ullage.doctor.settings_files import Service
from ullage.doctor.vendor import EMBEDDER_ONNX, RERANKER_ONNX, RETRIEVERS, Image, image, images

GIB = 1 << 30
LEAST_WINDOW_S = {"llm": 900.0, "vlm": 900.0}
LARGEST_KNOWN_GIB = 80.0
"""What a sum is held against where the GPU is not known: the largest card that the incident's generation had."""

Checks = Mapping[str, Entry]


@dataclass(frozen=True, slots=True)
class GpuSize:
    """`certain` is False where it was only read in a text."""

    gib: float
    name: str
    certain: bool = True


def service_findings(
    services: Sequence[Service], checks: Checks, gpus: Mapping[str, GpuSize], kind: str, *, with_env: bool,
) -> Iterator[Finding]:
    """Findings about all services of the files of one kind. `with_env`: an env file stands beside the compose files."""
    for service in services:
        its = image(service.image) if service.image else None
        settings = service.settings
        yield from name_findings(settings, dict(checks), its, service.name)
        yield from value_findings(settings, dict(checks), its)
        yield from limit_findings(settings, checks, its, service.name)
        yield from _missing(service, its, checks, with_env)
        if its is not None:
            yield from release_findings(service, its, checks, kind)
            yield from _window(service, its, checks)
    if kind == "compose":
        yield from _waits(services, checks)
        yield from _ports(services, checks)
    yield from _shared_gpus(services, checks, gpus)


def _missing(service: Service, its: Image | None, checks: Checks, with_env: bool) -> Iterator[Finding]:
    """Keys that the image needs, and variables that nothing sets. Without an env file beside, those may be anywhere."""
    key = service.setting("NGC_API_KEY")
    unset = [setting for setting in service.settings if setting.unset and setting.unset != ("valueFrom",)]
    if its is not None and its.family in (*RETRIEVERS, "llm", "vlm") and its.name.startswith("nvcr.io/") \
            and its.generation != "2.x" and key is None and not _reads_secret(service):
        yield checks["key-missing"].finding(
            [evidence(service.source, service.line, f"{service.name}: image {service.image}")], subject=service.name,
            service=service.name, name="NGC_API_KEY", image=its.plain)
    for setting in unset:
        for name in setting.unset:
            yield checks["variable-unset"].finding([line_of(setting)], subject=name, name=name,
                                                   severity=None if with_env else "info")


def _reads_secret(service: Service) -> bool:
    return any(key in service.raw for key in ("env_file", "envFrom", "secrets", "authSecret", "ngcAPISecret",
                                              "nimCache", "ngcApiSecret"))


def release_findings(service: Service, its: Image, checks: Checks, kind: str) -> Iterator[Finding]:
    where = [evidence(service.source, service.image_line, f"image: {service.image}")]
    if its.known is not None and its.tag in ("", "latest") and its.name.startswith("nvcr.io/"):
        yield checks["image-unpinned"].finding(where, subject=its.plain, image=its.plain)
    for known in its.known.faults if its.known else ():
        fault = images().faults[known.id]
        since, until = (tuple(int(part) for part in text.split(".")) for text in (known.since, known.until))
        if its.version and since <= its.version < until and (not fault.kinds or kind in fault.kinds):
            values: dict[str, Any] = {"subject": f"{its.plain}:{known.id}", "image": its.plain,
                                      "remedy": fault.remedy, "severity": fault.severity}
            entry = checks["image-fault"]
            yield both(entry.finding(where, **values, why=fault.en), entry.finding(where, **values, why=fault.de))


def _window(service: Service, its: Image, checks: Checks) -> Iterator[Finding]:
    start = its.known.start_s if its.known else 0.0
    if service.health is None or not start or service.health.window_s >= start:
        return
    yield checks["health-window-short"].finding(
        [evidence(service.source, service.health.line, f"{service.name}: {service.health.window_s:g} s in all")],
        subject=service.name, service=service.name, window=_span(service.health.window_s), start=_span(start))


def _span(seconds: float) -> str:
    return f"{seconds / 60:g}m" if seconds >= 60 and seconds % 60 == 0 else f"{seconds:g}s"


def _waits(services: Sequence[Service], checks: Checks) -> Iterator[Finding]:
    known = {service.name: service for service in services}
    for service in services:
        for need, condition in service.needs:
            where = [evidence(service.source, service.line, f"{service.name}: depends_on {need} ({condition})")]
            other = known.get(need)
            if other is None:
                yield checks["needs-unknown-service"].finding(where, subject=f"{service.name}:{need}",
                                                              service=service.name, needs=need)
            elif condition == "service_healthy" and other.health is None and "healthcheck" not in other.raw \
                    and image(other.image).family not in ("other", "ullage", ""):
                yield checks["health-check-missing"].finding(where, subject=need, service=need, needs=service.name)


def _ports(services: Sequence[Service], checks: Checks) -> Iterator[Finding]:
    by_port: dict[str, list[tuple[Service, int]]] = defaultdict(list)
    for service in services:
        for port, line in service.ports:
            if port.isdigit() and not service.raw.get("profiles"):
                by_port[port].append((service, line))
    for port, users in by_port.items():
        named = list(dict.fromkeys(service.name for service, _ in users))
        if len(named) > 1:
            yield checks["port-taken-twice"].finding(
                [evidence(s.source, line, f"{s.name}: {port}") for s, line in users], subject=port, port=port,
                services=" and ".join(named))


@dataclass(frozen=True, slots=True)
class _Part:
    service: Service
    image: Image
    gib: float
    source: str

    @property
    def said(self) -> str:
        return f"{self.service.name} {self.gib:.1f} GiB [{self.source}]"


def _shared_gpus(services: Sequence[Service], checks: Checks, gpus: Mapping[str, GpuSize]) -> Iterator[Finding]:
    on: dict[str, list[Service]] = defaultdict(list)
    for service in services:
        for gpu in service.gpus:
            on[gpu].append(service)
    for gpu, sharing in sorted(on.items()):
        size = gpus.get(gpu) or gpus.get("*")
        parts = list(_parts(sharing, size))
        total = sum(part.gib for part in parts)
        yield from _reranker(gpu, sharing, parts, checks, size, total)
        if len(parts) < 2:
            continue
        where = [evidence(p.service.source, p.service.image_line or p.service.line, f"GPU {gpu}: {p.said}")
                 for p in parts]
        values: dict[str, Any] = {"subject": gpu, "gpu": gpu, "sum": f"{total:.1f} GiB",
                                  "parts": " + ".join(p.said for p in parts)}
        if size is not None and total > size.gib:
            yield checks["gpu-overcommitted"].finding(
                where, **values, total=f"{size.gib:.0f} GiB ({size.name})",
                severity="error" if size.certain else "warning")
        elif size is None and total > LARGEST_KNOWN_GIB:
            yield checks["gpu-overcommitted"].finding(
                where, **values, total=f"? (more than {LARGEST_KNOWN_GIB:.0f} GiB would be needed)", severity="warning")
        else:
            yield checks["gpu-shared"].finding(where, **values)


def _parts(sharing: Iterable[Service], size: GpuSize | None) -> Iterator[_Part]:
    for service in sharing:
        its = image(service.image)
        known = its.known
        if known is None or (known.gpu_only_tag and known.gpu_only_tag not in its.tag):
            continue
        gib = known.gpu_gib
        if service.value("NIM_MODEL_PROFILE") and known.onnx_gib is not None and _pins_onnx(service):
            gib = known.onnx_gib
        if known.gpu_share is not None and size is not None:
            gib = _share(service, known.gpu_share) * size.gib
        if gib is not None:
            yield _Part(service, its, gib, known.source)


def _share(service: Service, usual: float) -> float:
    for name in ("NIM_KVCACHE_PERCENT", "NIM_GPU_MEM_FRACTION"):
        value = service.value(name)
        if value:
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return usual
    return usual


def _pins_onnx(service: Service) -> bool:
    return (service.value("NIM_MODEL_PROFILE") or "").strip("\"' ") in _ONNX


_ONNX = (RERANKER_ONNX, EMBEDDER_ONNX)


def _reranker(gpu: str, sharing: Sequence[Service], parts: Sequence[_Part], checks: Checks, size: GpuSize | None,
              total: float) -> Iterator[Finding]:
    """The incident before it happens: a 1.x reranker on TensorRT that does not have its GPU for itself."""
    for part in parts:
        if part.image.family != "rerank" or part.image.generation == "2.x" or _pins_onnx(part.service) \
                or part.image.known is None or part.image.known.onnx_gib is None:
            continue
        others = [service.name for service in sharing if service is not part.service]
        # Where the GPU is known and all fit, it is a fact worth knowing; else it is what will go wrong.
        tight = bool(others) and (total > size.gib if size is not None else total > LARGEST_KNOWN_GIB / 2)
        yield checks["reranker-reserves-largest"].finding(
            [evidence(part.service.source, part.service.image_line, f"image: {part.service.image} on GPU {gpu}")],
            subject=part.service.name, service=part.service.name, image=part.image.plain, gpu=gpu,
            size=f"{part.gib:.0f} GB", others=", ".join([part.service.name, *others]), onnx=RERANKER_ONNX,
            severity=None if tight else "info")
