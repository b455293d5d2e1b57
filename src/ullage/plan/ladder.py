"""Every way to run one model on one machine, best first, and what each would take.

The order is fixed: fewer tokens in flight first (down to one longest sequence), then a lower precision if allowed, then
the embedding table in host memory, then the CPU if allowed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ullage.devices import Gpu, Machine
from ullage.errors import ModelUnsupported, SettingsError
from ullage.models.card import Card
from ullage.plan.cpu_backend import cpu_backend, graph_precisions
from ullage.plan.footprint import encoder_ledger
from ullage.plan.llama import llama_ledger
from ullage.plan.packed import ONE_BYTE, packed_cpu_ledger, packed_gpu_ledger, packed_host_ledger
from ullage.plan.profile import Ledger, Profile
from ullage.plan.vision import vision_ledger, vision_profiles
from ullage.settings import Service, Settings

NO_PACKED = "the packed engine (PyTorch) for GPUs is not installed"
PASSAGES = 512
"""Passages of one ranking request, as the contract allows."""

TOKEN_BODY_BYTES = 4.5
"""Bytes of a request body for one token of English."""

BODY_COPIES = 12
"""Memory that a byte of a body takes until the answer; measured in serve/encoder.py."""

CPU_TOKENS = (8192, 4096, 2048, 1024, 512, 256, 128)
GPU_TOKENS = (16384, 8192, 4096, 2048, 1024, 512, 256, 128)
CONTEXT_TOKENS = (8192, 4096, 2048, 1024)

BF16_FROM = (8, 0)
FP8_FROM = (8, 9)
"""Compute capability from which the tensor cores take the format (CUDA programming guide, appendix on capabilities)."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One profile on the CPU, on one GPU, or on each of several: `ledger` is host memory, `gpu_ledger` what it takes of
    each of `gpus`."""

    profile: Profile
    ledger: Ledger
    gpus: tuple[Gpu, ...] = ()
    gpu_ledger: Ledger | None = None

    @property
    def gpu_bytes(self) -> int:
        return self.gpu_ledger.total if self.gpu_ledger else 0

    @property
    def where(self) -> str:
        return place_of(self.gpus)


def place_of(gpus: tuple[Gpu, ...]) -> str:
    """`cpu`, `cuda:INDEX`, or several of these with commas between, as the settings have it."""
    return ",".join(f"cuda:{gpu.index}" for gpu in gpus) or "cpu"


def profile_hash(card: Card, profile: Profile) -> str:
    """The 64 hexadecimal digits by which tools of the replaced stack name a profile."""
    return hashlib.sha256(f"{card.name}\n{profile.id}".encode()).hexdigest()


def ladder(service: Service, card: Card, settings: Settings, machine: Machine) -> list[Rung]:
    """Rungs for one model, best first; never empty.

    Raises SettingsError when a limit, a device or a pinned profile leaves none, ModelUnsupported for a model that
    cannot be served.
    """
    if card.not_servable and card.role != "llm":  # an LLM can be planned for, and is refused when it is to be served
        raise ModelUnsupported(f"{card.name} cannot be served: {card.not_servable}")
    if card.role == "llm":
        rungs = [Rung(profile, llama_ledger(card, profile)) for profile in _contexts(card, settings)]
    elif card.role == "vision":
        rungs = [Rung(profile, vision_ledger(card, profile, settings)) for profile in vision_profiles()]
    elif not any(backend in machine.runtimes for backend in card.backends):
        raise ModelUnsupported(f"{card.name} cannot be served here: {NO_PACKED}")
    else:
        rungs = _without_idle_steps(list(_encoder_rungs(service, card, settings, machine)))
    pinned = settings.profile(service)
    return rungs if pinned is None else _pinned(service, card, rungs, pinned)


def listed(rungs: list[Rung]) -> list[Profile]:
    """The profiles as they are numbered in lists: once each, best first."""
    return list(dict.fromkeys(rung.profile for rung in rungs))


def _pinned(service: Service, card: Card, rungs: list[Rung], wanted: str) -> list[Rung]:
    profiles = listed(rungs)
    text = wanted.strip().lower()
    for number, profile in enumerate(profiles):
        if text in (profile.id, profile_hash(card, profile), str(number)):
            return [rung for rung in rungs if rung.profile == profile]
    known = ", ".join(f"{number} {profile.id}" for number, profile in enumerate(profiles))
    raise SettingsError(f"{service}_profile={wanted} is no profile of {card.name} here: listed are {known} "
                        "(`ullage list-model-profiles` shows their hashes)")


def _contexts(card: Card, settings: Settings) -> list[Profile]:
    asked = settings.llm_context
    if asked is not None and asked > card.max_sequence:
        raise SettingsError(f"llm_context={asked} is more than {card.name} takes: {card.max_sequence} at most")
    sizes = [asked] if asked is not None else [min(tokens, card.max_sequence) for tokens in CONTEXT_TOKENS]
    return [Profile("cpu", card.precision, tokens, tokens) for tokens in dict.fromkeys(sizes)]


def _encoder_rungs(service: Service, card: Card, settings: Settings, machine: Machine) -> Iterator[Rung]:
    sequence = _sequence(card, settings)
    places = _places(service, card, settings, machine)
    formats = [_common_precisions(gpus, settings) for gpus in places]
    if places and not any(formats):
        everywhere = dict.fromkeys(gpu.index for gpus in places for gpu in gpus)
        described = [_describe(gpu) for gpu in machine.gpus if gpu.index in everywhere]
        raise SettingsError(f"precision={settings.precision} runs on none of these GPUs: {', '.join(described)}; "
                            "leave it at auto")
    for table_on_host in (False, True) if settings.allow_host_embedding else (False,):
        for level in range(max((len(found) for found in formats), default=0)):
            for tokens in _tokens(GPU_TOKENS, sequence, settings):
                for gpus, found in zip(places, formats, strict=True):
                    if level < len(found):
                        profile = Profile("cuda", found[level], tokens, sequence, settings.instances, table_on_host)
                        yield _gpu_rung(card, gpus, profile, settings)
    if not places or (settings.allow_cpu and settings.device(service) == "auto"):
        precisions = _cpu_precisions(card, settings, machine)
        if not places and not precisions:
            graph = "onnx" in card.backends
            offered = " or ".join(graph_precisions(card, settings, machine) if graph else ["fp32", "bf16"])
            raise SettingsError(f"precision={settings.precision}: on the CPU {card.name} runs in {offered}; "
                                "leave it at auto")
        yield from _cpu_rungs(card, settings, machine, sequence, precisions)


def _gpu_rung(card: Card, gpus: tuple[Gpu, ...], profile: Profile, settings: Settings) -> Rung:
    copies = profile.instances
    host = _times(packed_host_ledger(card, profile), copies * len(gpus))
    ledger = _times(packed_gpu_ledger(card, profile), copies)
    return Rung(profile, _with_requests(host, profile, settings), gpus, ledger)


def _cpu_rungs(
    card: Card, settings: Settings, machine: Machine, sequence: int, precisions: list[str]
) -> Iterator[Rung]:
    for precision in precisions:
        for tokens in _tokens(CPU_TOKENS, sequence, settings):
            profile = Profile("cpu", precision, tokens, sequence, settings.instances)
            if "onnx" in card.backends:
                ledger = encoder_ledger(card, profile, cpu_backend(card, settings, machine))
            else:
                ledger = _times(packed_cpu_ledger(card, profile), profile.instances)
            yield Rung(profile, _with_requests(ledger, profile, settings))


def _sequence(card: Card, settings: Settings) -> int:
    asked = settings.max_sequence or card.max_sequence
    if asked > card.max_sequence:
        raise SettingsError(f"max_sequence={asked} is more than {card.name} takes: {card.max_sequence} at most")
    return asked


def _tokens(steps: tuple[int, ...], sequence: int, settings: Settings) -> list[int]:
    """Batch sizes from the largest down to one longest sequence, or the one that was asked for."""
    asked = settings.max_batch_tokens
    if asked is None:
        return [*(step for step in steps if step > sequence), sequence]
    if asked < sequence:
        raise SettingsError(f"max_batch_tokens={asked} holds no row of {sequence} tokens: raise it, or set "
                            f"max_sequence to {asked} or less")
    return [asked]


def _places(service: Service, card: Card, settings: Settings, machine: Machine) -> list[tuple[Gpu, ...]]:
    """Where this model may run: one GPU each, the emptiest first, or all that were named together.

    Raises SettingsError when one was asked for in vain.
    """
    wanted = settings.device(service)
    if wanted == "cpu":
        return []
    if "packed" not in card.backends:
        if wanted != "auto":
            raise SettingsError(f"{service}_device={wanted}: {card.name} runs on the CPU only; set it to cpu or auto")
        return []
    if "packed" not in machine.runtimes:
        if wanted != "auto":
            raise SettingsError(f"{service}_device={wanted}: {NO_PACKED}; set it to cpu or auto")
        return []
    gpus = sorted(machine.gpus, key=lambda gpu: (-gpu.free_bytes, gpu.index))
    if wanted in ("auto", "cuda"):
        if wanted == "cuda" and not gpus:
            raise SettingsError(f"{service}_device=cuda, but {machine.name} has no GPU: set it to cpu or auto")
        return [(gpu,) for gpu in gpus]
    named = [int(each.removeprefix("cuda:")) for each in wanted.split(",")]
    by_index = {gpu.index: gpu for gpu in gpus}
    if missing := [index for index in named if index not in by_index]:
        there = ", ".join(f"cuda:{gpu.index}" for gpu in machine.gpus) or "none"
        raise SettingsError(f"{service}_device={wanted}: cuda:{missing[0]} is not a GPU of {machine.name}: "
                            f"there are {there}")
    if len(set(named)) < len(named):
        raise SettingsError(f"{service}_device={wanted} names a GPU twice: instances sets the engines of each")
    return [tuple(by_index[index] for index in named)]


def _common_precisions(gpus: tuple[Gpu, ...], settings: Settings) -> list[str]:
    """What every one of these GPUs computes in, best first."""
    each = [_gpu_precisions(gpu, settings) for gpu in gpus]
    return [precision for precision in each[0] if all(precision in found for found in each)]


def _gpu_precisions(gpu: Gpu, settings: Settings) -> list[str]:
    """What this GPU computes in, best first. A GPU of unknown capability is taken for a recent one, without FP8."""
    capability = gpu.compute or BF16_FROM
    known = {"fp32": True, "fp16": True, "bf16": capability >= BF16_FROM, "int8": capability >= BF16_FROM,
             "fp8": capability >= FP8_FROM}
    if settings.precision != "auto":
        return [settings.precision] if known.get(settings.precision, False) else []
    lower = [each for each in ONE_BYTE if known[each]] if settings.allow_lower_precision else []
    return ["bf16" if known["bf16"] else "fp16", *lower]


def _describe(gpu: Gpu) -> str:
    capability = f"{gpu.compute[0]}.{gpu.compute[1]}" if gpu.compute else "unknown"
    return f"cuda:{gpu.index} {gpu.name} (compute capability {capability})"


def _cpu_precisions(card: Card, settings: Settings, machine: Machine) -> list[str]:
    """What the CPU computes this model in, best first; none when another precision was asked for."""
    offered = graph_precisions(card, settings, machine) if "onnx" in card.backends else ["fp32", "bf16"]
    if settings.precision == "auto":
        return offered if settings.allow_lower_precision else offered[:1]
    return [name for name in offered if name == settings.precision]


def _times(ledger: Ledger, instances: int) -> Ledger:
    """Several engines in one process share what is fixed."""
    if instances == 1:
        return ledger
    return Ledger(ledger.fixed, ledger.weights * instances, ledger.activations * instances, ledger.slack)


def _with_requests(ledger: Ledger, profile: Profile, settings: Settings) -> Ledger:
    """Room on the host for one whole request of the contract's size, and for the score cache."""
    request = int(PASSAGES * profile.max_sequence * TOKEN_BODY_BYTES * BODY_COPIES)
    return replace(ledger, slack=max(ledger.slack, request) + int(settings.score_cache))


def _without_idle_steps(rungs: list[Rung]) -> list[Rung]:
    """Leave out a step down that saves nothing: rows that run one at a time cost the same in any batch."""
    kept: dict[tuple[str, str, bool], Rung] = {}
    steps = []
    for rung in rungs:
        kind = (rung.where, rung.profile.precision, rung.profile.host_embedding)
        above = kept.get(kind)
        if above is None or rung.ledger.total + rung.gpu_bytes < above.ledger.total + above.gpu_bytes:
            kept[kind] = rung
            steps.append(rung)
    return steps
