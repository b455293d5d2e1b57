"""A short question to a language model on the way to an answer. What it says is a proposal: whoever asks checks it."""

from __future__ import annotations

import re

from ullage.clients.llm import LlmClient

_THINKING = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)


async def consult(llm: LlmClient, rule: str, text: str, *, max_tokens: int = 96) -> str:
    """Its words without its thoughts. Errors are those of LlmClient."""
    chat = [{"role": "system", "content": rule}, {"role": "user", "content": text}]
    answer = await llm.complete(chat, max_tokens=max_tokens, temperature=0.0)
    return _THINKING.sub("", answer.text).strip()
