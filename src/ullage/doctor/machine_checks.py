"""Judge what was seen of a machine. Pure: everything it says follows from `Seen`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from ullage.devices import Disk, Gpu
from ullage.doctor.catalog import Entry
from ullage.doctor.finding import Diagnosis, Evidence, Fact, Finding, Severity, evidence, ranked
from ullage.doctor.name_checks import both
from ullage.doctor.text import Text
from ullage.doctor.this_machine import Answers, Running, Seen

GIB = 1 << 30
FULL_PERCENT = 90
LEAST_FREE_SHARE = 0.1
OVER_PLAN = 1.05
FUTURE_S = 86_400.0

Checks = Mapping[str, Entry]


def machine_diagnosis(seen: Seen, checks: Checks) -> Diagnosis:
    found = [*_disks(seen, checks), *_memory(seen, checks), *_gpus(seen, checks), *_driver(seen, checks),
             *_clock(seen, checks), *_ports(seen, checks), *_cache(seen, checks), *_services(seen, checks),
             *_plan(seen, checks)]
    return Diagnosis(ranked(found), tuple(_facts(seen)))


def fact(text: str) -> list[Evidence]:
    return [evidence("this machine", 0, text)]


def gib(size: int) -> str:
    return f"{size / GIB:,.1f} GiB"


def _disks(seen: Seen, checks: Checks) -> Iterator[Finding]:
    disks = {seen.root.path: seen.root}
    cache = seen.machine.disk
    # A cache on the root's own file system says nothing new.
    if cache is not None and (cache.total_bytes, cache.free_bytes) != (seen.root.total_bytes, seen.root.free_bytes):
        disks[cache.path] = cache
    for disk in disks.values():
        if _percent(disk) >= FULL_PERCENT:
            yield checks["disk-full"].finding(
                fact(f"{disk.path}: {gib(disk.free_bytes)} free of {gib(disk.total_bytes)}"), subject=disk.path,
                path=disk.path, percent=_percent(disk), free=gib(disk.free_bytes))


def _percent(disk: Disk) -> int:
    return round(100 * (1 - disk.free_bytes / disk.total_bytes)) if disk.total_bytes else 0


def _memory(seen: Seen, checks: Checks) -> Iterator[Finding]:
    machine = seen.machine
    if machine.free_bytes < LEAST_FREE_SHARE * machine.total_bytes:
        yield checks["memory-short"].finding(
            fact(f"memory: {gib(machine.free_bytes)} free of {gib(machine.total_bytes)}, limit {machine.limit}"),
            free=gib(machine.free_bytes), total=gib(machine.total_bytes), limit=machine.limit)


def _gpus(seen: Seen, checks: Checks) -> Iterator[Finding]:
    machine = seen.machine
    if not machine.gpus:
        why = "; ".join(machine.notes) or "NVML finds no driver."
        yield checks["gpu-none"].finding(fact("no GPU"), why=why)
    else:
        for number, note in enumerate(machine.notes):
            yield checks["gpu-left-out"].finding(fact(note), subject=str(number), why=note,
                                                 severity=None if "left out" in note else "info")
    for gpu in machine.gpus:
        if gpu.held_bytes > LEAST_FREE_SHARE * gpu.total_bytes:
            yield checks["gpu-held"].finding(
                fact(f"cuda:{gpu.index}: {holders(gpu)}"), subject=str(gpu.index), gpu=gpu.index, name=gpu.name,
                free=gib(gpu.free_bytes), total=gib(gpu.total_bytes), who=holders(gpu))
        state = (seen.driver.licences or {}).get(gpu.index, "")
        # A whole card may offer licences for graphics that nobody needs here.
        if gpu.kind == "vgpu" and state == "unlicensed":
            yield checks["gpu-vgpu-unlicensed"].finding(
                fact(f"cuda:{gpu.index}: {state}"), subject=str(gpu.index), gpu=gpu.index, name=gpu.name, state=state)


def holders(gpu: Gpu) -> str:
    """Who holds a GPU's memory, as far as the driver says."""
    said = [f"{holder.name or 'a process'} (pid {holder.pid})"
            + ("" if holder.held_bytes is None else f" {gib(holder.held_bytes)}") for holder in gpu.holders]
    if not gpu.holders_known:
        said.append(f"{gib(gpu.held_bytes)} in all, the driver does not say by whom")
    return ", ".join(said) or "nobody"


def _driver(seen: Seen, checks: Checks) -> Iterator[Finding]:
    has, needs = seen.driver.cuda, seen.torch_cuda
    if has is not None and needs is not None and needs[0] > has[0]:
        yield checks["driver-too-old"].finding(
            fact(f"driver {seen.driver.version}, CUDA {has[0]}.{has[1]}; PyTorch for CUDA {needs[0]}.{needs[1]}"),
            driver=seen.driver.version, has=f"{has[0]}.{has[1]}", needs=f"{needs[0]}.{needs[1]}", who="PyTorch")


def _clock(seen: Seen, checks: Checks) -> Iterator[Finding]:
    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seen.now_unix_s))
    if seen.newest_file_unix_s > seen.now_unix_s + FUTURE_S:
        yield _bilingual(checks["clock-off"], now, None, Text("Files of this program are newer than that.",
                                                              "Dateien dieses Programms sind neuer."))
    elif seen.unsynchronised:
        yield _bilingual(checks["clock-off"], now, "info", Text(
            "The kernel says that nothing keeps it in step (in a container the host may).",
            "Der Kernel sagt, dass niemand sie stellt (im Container tut es vielleicht der Host)."))


def _bilingual(entry: Entry, now: str, severity: Severity | None, why: Text) -> Finding:
    return both(entry.finding(fact(now), severity=severity, now=now, why=why.en),
                entry.finding(fact(now), severity=severity, now=now, why=why.de))


def _ports(seen: Seen, checks: Checks) -> Iterator[Finding]:
    for service, port, who in seen.taken_ports:
        yield checks["port-busy"].finding(fact(f"port {port}: {who}"), subject=service, service=service, port=port,
                                          who=who)


def _cache(seen: Seen, checks: Checks) -> Iterator[Finding]:
    for id_, faults in (("cache-missing", seen.missing), ("cache-corrupt", seen.corrupt)):
        for model, why in faults:
            yield checks[id_].finding(fact(why), subject=model, model=model, why=why)


def _services(seen: Seen, checks: Checks) -> Iterator[Finding]:
    if seen.running is None:
        yield checks["stack-off"].finding(fact("no stack"), state_dir=seen.state_dir)
    for one, said in seen.running or ():
        yield from _service(one, said, checks)


def _service(one: Running, said: Answers, checks: Checks) -> Iterator[Finding]:
    values: dict[str, Any] = {"subject": one.service, "service": one.service, "url": one.url, "log": one.log or "-"}
    reason = said.reason or one.reason or "-"
    if not said.live and not said.ready:
        yield checks["service-away"].finding(fact(f"{one.service}: {reason}"), **values, why=one.reason or reason)
    elif not said.ready:
        yield checks["service-not-ready"].finding(fact(f"{one.service}: {reason}"), **values, why=reason)
    elif not said.metrics:
        yield checks["service-no-metrics"].finding(fact(f"{one.service}: no metrics"), **values, why=reason)
    if one.restarts:
        yield checks["service-restarts"].finding(fact(f"{one.service}: {one.restarts} restarts"), **values,
                                                 count=one.restarts, why=one.reason or "-")


def _plan(seen: Seen, checks: Checks) -> Iterator[Finding]:
    if seen.plan_fault:
        yield checks["plan-does-not-fit"].finding(fact(seen.plan_fault), why=seen.plan_fault)
    for one, _ in seen.running or ():
        if one.predicted_bytes and one.resident_bytes > OVER_PLAN * one.predicted_bytes:
            yield checks["plan-exceeded"].finding(
                fact(f"{one.service}: {one.resident_bytes} of {one.predicted_bytes} bytes"), subject=one.service,
                service=one.service, measured=gib(one.resident_bytes), predicted=gib(one.predicted_bytes))


def _facts(seen: Seen) -> Iterator[Fact]:
    machine = seen.machine
    yield _about(f"{machine.cores} cores {machine.cpu_model}".strip(),
                 f"{machine.cores} Kerne {machine.cpu_model}".strip())
    yield _about(f"memory: {gib(machine.free_bytes)} free of {gib(machine.total_bytes)} (limit: {machine.limit})",
                 f"Speicher: {gib(machine.free_bytes)} frei von {gib(machine.total_bytes)} (Grenze: {machine.limit})")
    for disk in (seen.root, *((machine.disk,) if machine.disk else ())):
        yield _about(f"disk {disk.path}: {gib(disk.free_bytes)} free of {gib(disk.total_bytes)} ({_percent(disk)} %)",
                     f"Platte {disk.path}: {gib(disk.free_bytes)} frei von {gib(disk.total_bytes)} "
                     f"({_percent(disk)} %)")
    for gpu in machine.gpus:
        licence = (seen.driver.licences or {}).get(gpu.index, "")
        kind = " ".join(part for part in (gpu.kind, licence) if part)
        yield _about(f"GPU cuda:{gpu.index}: {gpu.name} ({kind}), {gib(gpu.free_bytes)} free of "
                     f"{gib(gpu.total_bytes)}, held by {holders(gpu)}",
                     f"GPU cuda:{gpu.index}: {gpu.name} ({kind}), {gib(gpu.free_bytes)} frei von "
                     f"{gib(gpu.total_bytes)}, belegt von {holders(gpu)}")
    if seen.driver.version:
        cuda = ".".join(map(str, seen.driver.cuda)) if seen.driver.cuda else "?"
        yield _about(f"driver {seen.driver.version}, CUDA {cuda}", f"Treiber {seen.driver.version}, CUDA {cuda}")
    for one, said in seen.running or ():
        if said.ready:
            planned = f"{gib(one.resident_bytes)} of {gib(one.predicted_bytes)}"
            yield Fact("works", Text(f"{one.service} ({one.url}): ready, {planned} planned",
                                     f"{one.service} ({one.url}): bereit, {planned.replace(' of ', ' von ')} geplant"))


def _about(english: str, german: str) -> Fact:
    return Fact("environment", Text(english, german))
