"""What a model that sees says of a chart: one description beside the words that were read on it."""

from __future__ import annotations

import base64

import structlog

from ullage.clients.llm import LlmClient
from ullage.errors import DeadlineExceeded, DependencyDown, InvalidRequest, Overloaded, TooLarge, TooLong
from ullage.ingest.document import one_line
from ullage.settings import Settings

log = structlog.get_logger("ullage.ingest")

MOST_TOKENS = 256
LONGEST = 1500
"""Letters that are kept of a description."""

ASK = ("Describe this chart for somebody who searches for it and cannot see it: its kind, what it is about, its axes, "
       "and its highest, lowest and most striking values. Say only what is shown, in at most five plain sentences.")
SAID = "Described by a model: "
"""Stands before it in the text: nobody measured or wrote that on the page."""


class Captions:
    """One OpenAI-compatible model. Raises DependencyDown when it is away or busy: the file then waits for it."""

    def __init__(self, client: LlmClient) -> None:
        self._client = client

    @classmethod
    def of(cls, settings: Settings) -> Captions | None:
        """None where no such model is set."""
        if not settings.caption_url:
            return None
        key = settings.caption_api_key
        return cls(LlmClient(settings.caption_url, settings.caption_model or None, settings.request_timeout_s,
                             api_key=key.get_secret_value() if key is not None else None))

    async def close(self) -> None:
        await self._client.close()

    async def of_chart(self, png: bytes) -> str:
        """Nothing where the model refuses the picture or takes too long over it: its words are kept all the same."""
        url = f"data:image/png;base64,{base64.b64encode(png).decode()}"
        content = [{"type": "text", "text": ASK}, {"type": "image_url", "image_url": {"url": url}}]
        try:
            answer = await self._client.complete([{"role": "user", "content": content}], max_tokens=MOST_TOKENS,
                                                 temperature=0.0)
        except Overloaded as busy:
            raise DependencyDown(busy.message) from None
        except (InvalidRequest, TooLarge, TooLong, DeadlineExceeded) as refusal:
            log.warning("a chart is not described", reason=refusal.message)
            return ""
        said = one_line(answer.text)[:LONGEST]
        return f"{SAID}{said}" if said else ""
