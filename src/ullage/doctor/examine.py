"""Look at files: find out what each is, judge it, and judge what several say together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ullage.devices import Machine
from ullage.doctor import kinds
from ullage.doctor.catalog import Catalog
from ullage.doctor.finding import Diagnosis, Fact, Finding, evidence, ranked
from ullage.doctor.limit_checks import limit_findings
from ullage.doctor.logs import Scan, log_findings, scan
from ullage.doctor.name_checks import line_of, name_findings, value_findings
from ullage.doctor.redact import redacted
from ullage.doctor.service_checks import GIB, GpuSize, release_findings, service_findings
from ullage.doctor.settings_files import Service, Setting, compose_services, env_settings, helm_services
from ullage.doctor.text import Text
from ullage.doctor.vendor import image, names
from ullage.settings.conversions import FALSE

MOST_FACTS = 12

_LABELS = {
    "compose": Text("compose file", "Compose-Datei"), "env": Text("env file", "Env-Datei"),
    "helm": Text("Helm values", "Helm-Values"), "log": Text("log", "Log"), "report": Text("report", "Bericht"),
}


@dataclass(slots=True)
class Examination:
    """What was read so far. `machine` is the one that the files are for, where it is known."""

    catalog: Catalog
    machine: Machine | None = None
    read: list[kinds.Read] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    scans: list[tuple[kinds.Read, Scan]] = field(default_factory=list)


def examine(paths: Sequence[Path], catalog: Catalog, machine: Machine | None = None) -> Diagnosis:
    """The diagnosis of some files. Raises InvalidRequest for a path that cannot be read."""
    at = Examination(catalog, machine)
    for path in paths:
        found = kinds.read(path)
        at.read.append(found)
        if found.kind in ("log", "report") or found.fault:
            at.scans.append((found, scan(path, path.name, catalog.signatures)))
    env = [setting for found in at.read if found.kind == "env" for setting in env_settings(found.text, found.path.name)]
    _say_unreadable(at)
    services = _services(at, {setting.name: setting.value for setting in env})
    gpus = _gpus(at)
    with_env = any(found.kind == "env" for found in at.read)
    for kind, some in services.items():
        at.findings += service_findings(some, catalog.checks, gpus, kind, with_env=with_env)
    _env_findings(at, env)
    for read, found_in in at.scans:
        at.findings += log_findings(found_in, catalog.signatures)
        _told_findings(at, read, found_in)
    _switches(at, [*env, *(s for some in services.values() for service in some for s in service.settings)])
    return Diagnosis(ranked(at.findings), _facts(at, services, env))


def _services(at: Examination, known: dict[str, str]) -> dict[str, list[Service]]:
    found: dict[str, list[Service]] = {"compose": [], "helm": []}
    for read in at.read:
        for tree in read.trees:
            if read.kind == "compose":
                found["compose"] += compose_services(tree, read.path.name, known)
            else:
                found["helm"] += helm_services(tree, read.path.name)
    return {"compose": _overlaid(found["compose"]), "helm": found["helm"]}


def _overlaid(services: list[Service]) -> list[Service]:
    """Files that compose is given together make one service of each name; the later one adds and overrules."""
    made: dict[str, Service] = {}
    for service in services:
        before = made.get(service.name)
        made[service.name] = service if before is None else Service(
            name=service.name, source=service.source if service.image else before.source, line=before.line,
            image=service.image or before.image, image_line=service.image_line or before.image_line,
            settings=(*before.settings, *service.settings), gpus=service.gpus or before.gpus,
            takes_gpu=service.takes_gpu or before.takes_gpu, health=service.health or before.health,
            needs=(*before.needs, *service.needs), ports=(*before.ports, *service.ports),
            raw={**before.raw, **service.raw},
        )
    return list(made.values())


def _say_unreadable(at: Examination) -> None:
    for read in at.read:
        name = redacted(read.path.name)
        if read.fault:
            at.findings.append(at.catalog.checks["yaml-broken"].finding(
                [evidence(read.path.name, read.line, read.fault)], subject=read.path.name, file=name,
                why=redacted(read.fault)))
        elif read.kind in ("empty", "binary"):
            at.findings.append(at.catalog.checks[f"file-{read.kind}"].finding([], subject=name, file=name))


def _gpus(at: Examination) -> dict[str, GpuSize]:
    """Sizes by index: of the machine that was given, else what a report or a log names."""
    if at.machine is not None:
        return {str(gpu.index): GpuSize(gpu.total_bytes / GIB, gpu.name) for gpu in at.machine.gpus}
    for _, found in at.scans:
        for name, _ in found.gpus:
            size = re.search(r"-(\d{2,3})[A-Z]$|(\d{2,3}) ?GB", name)
            if size:
                return {"*": GpuSize(float(size[1] or size[2]), name, certain=False)}
    return {}


def _env_findings(at: Examination, env: list[Setting]) -> None:
    checks = at.catalog.checks
    at.findings += name_findings(env, checks)
    at.findings += value_findings(env, checks)
    at.findings += limit_findings(tuple(env), checks, None, "env")


def _told_findings(at: Examination, read: kinds.Read, found: Scan) -> None:
    """Settings and images that a text mentions. A log tells of many names; of it only those that never were count."""
    checks = at.catalog.checks
    # A report may quote a setting several times, and a name without a value is no setting.
    settings = list({s.name + s.value: s for s in reversed(found.settings) if s.value.strip("`*_")}.values())[::-1]
    bad = settings if read.kind == "report" or read.fault else [s for s in settings if s.name in names().never]
    at.findings += name_findings(bad, checks)
    if read.kind == "report" or read.fault:
        at.findings += value_findings(settings, checks)
    spoken = {image(name).plain: (image(name), line) for name, line in reversed(found.images)}
    for its, line in spoken.values():
        service = Service(its.plain, read.path.name, line, f"{its.name}:{its.tag}", line)
        at.findings += release_findings(service, its, checks, "report")


def _switches(at: Examination, settings: list[Setting]) -> None:
    for setting in settings:
        if setting.name == "ENABLE_RERANKER" and setting.value.strip("\"' ").lower() in FALSE:
            at.findings.append(at.catalog.checks["reranker-off"].finding(
                [line_of(setting)], subject=setting.name, name=setting.name, value=setting.value))


def _facts(at: Examination, services: dict[str, list[Service]], env: list[Setting]) -> tuple[Fact, ...]:
    """What the files say of the surroundings, and what works."""
    facts: list[Fact] = []
    for read in at.read:
        if label := _LABELS.get(read.kind):
            name = redacted(read.path.name)
            facts.append(Fact("environment", Text(f"{label.en}: {name}", f"{label.de}: {name}")))
    gpus = dict.fromkeys(name for _, found in at.scans for name, _ in found.gpus)
    facts += [Fact("environment", Text(f"GPU: {name}", f"GPU: {name}")) for name in list(gpus)[:4]]
    pictures = dict.fromkeys([s.image for some in services.values() for s in some if s.image and "nvcr.io" in s.image]
                             + [name for _, found in at.scans for name, _ in found.images])
    facts += [Fact("environment", Text(f"image: {name}", f"Image: {name}")) for name in list(pictures)[:MOST_FACTS]]
    if any(setting.name == "NGC_API_KEY" and setting.value for setting in env):
        facts.append(Fact("environment", Text("API key: set", "API-Key: gesetzt")))
    for _, found in at.scans:
        facts += [Fact("works", Text(line.text, line.text)) for line in found.healthy[:MOST_FACTS]]
    return tuple(facts)
