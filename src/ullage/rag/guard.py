"""Guardrails: the question is judged beside the search, the answer before any of it is shown. Without a judgement
nothing is answered."""

from __future__ import annotations

from ullage.errors import DeadlineExceeded, RequestError, Unavailable
from ullage.rag.asked import Asked
from ullage.rag.connections import Clients
from ullage.rag.rests import unavailable

REFUSED = "I'm sorry, I can't respond to that."


async def question_allowed(clients: Clients, asked: Asked) -> bool:
    """Raises DependencyDown when guardrails are asked for and do not answer."""
    return await _allows(clients, asked, [{"role": "user", "content": asked.question}])


async def answer_allowed(clients: Clients, asked: Asked, text: str) -> bool:
    return await _allows(clients, asked, [{"role": "user", "content": asked.question},
                                          {"role": "assistant", "content": text}])


async def _allows(clients: Clients, asked: Asked, messages: list[dict[str, str]]) -> bool:
    if not asked.guardrails or clients.guardrails is None:
        return True
    try:
        return await clients.guardrails.allows(messages)
    except (Unavailable, DeadlineExceeded, RequestError):
        raise unavailable("NemoGuardrails", clients.guardrails.base_url) from None
