"""What one request asks for: the question, what came before it, and everything that may differ from the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Turn:
    """An earlier message of the conversation; `role` is `user` or `assistant`."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A service that a request names itself, and the model it wants there."""

    url: str
    model: str = ""


@dataclass(frozen=True, slots=True)
class Generation:
    """How the language model is to speak. `extra` goes into its request as it is.

    `whole`: nothing is cut short, so that the tokens are those that were asked for.
    """

    max_tokens: int = 128
    temperature: float = 0.0
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    extra: Mapping[str, object] = field(default_factory=dict)
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Sight:
    """How the vision model is to speak. `images` are the user's own, as URLs (`data:` or http)."""

    images: tuple[str, ...] = ()
    most_images: int = 5
    max_tokens: int = 1024
    temperature: float = 0.0
    top_p: float | None = None
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """One question. `system` is added to the system message; `history` are the earlier turns that count.

    `filter` is in the contract's grammar. `endpoints` maps a service to another than the settings name.
    """

    question: str
    collections: tuple[str, ...]
    retrieve_top_k: int
    rerank_top_k: int
    rerank: bool = True
    least_score: float = 0.0
    filter: str = ""
    generate_filter: bool = False
    history: tuple[Turn, ...] = ()
    rewrite: bool = True
    decompose: bool = False
    reflect: bool = False
    guardrails: bool = False
    full_pages: bool = False
    neighbour_pages: int = 0
    system: str = ""
    speech: Generation = Generation()
    sight: Sight | None = None
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
