"""A query and passages to logits, by the ranking service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import httpx
import numpy as np
import numpy.typing as npt

from ullage.clients.base import ModelClient
from ullage.errors import DependencyDown

Float32 = npt.NDArray[np.float32]
Scale = Literal["relative", "absolute"]

PASSAGES_PER_CALL = 512
"""The most that `POST /v1/ranking` takes."""


class RankingClient(ModelClient):
    """`POST /v1/ranking` of a NeMo Retriever reranking NIM or of ours. Errors: see ModelClient."""

    def __init__(
        self,
        base_url: str,
        *,
        model: str | None = None,
        timeout_s: float = 30.0,
        api_key: str = "",
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(base_url, role="ranking", model=model, timeout_s=timeout_s, api_key=api_key,
                         transport=transport)
        self._scale: Scale | None = None

    async def rank(self, query: str, passages: Sequence[str]) -> Float32:
        """Logits [n] fp32 in the order of `passages`, larger is better. A passage over the limit is cut at its end.

        Relative scores of more than one call could not be compared, so more than `PASSAGES_PER_CALL` are refused by
        the service and not split here.
        """
        if not passages:
            return np.empty(0, np.float32)
        body = {
            "model": await self.model(),
            "query": {"text": query},
            "passages": [{"text": passage} for passage in passages],
            "truncate": "END",
        }
        answer = await self.call("POST", "/v1/ranking", body)
        try:
            return _logits(answer, len(passages))
        except (KeyError, TypeError, ValueError) as error:
            raise DependencyDown(
                f"ranking at {self.base_url} answered with a body that does not rank {len(passages)} passages "
                f"({error}): check that ranking_url is that of a ranking service"
            ) from None

    async def scale(self) -> Scale:
        """`relative`: scores compare passages of one request only, as those of the bundled fusion do; `absolute`: a
        cross-encoder's. A service that says nothing is taken for a cross-encoder."""
        if self._scale is None:
            said = (await self.listed_model()).get("ullage")
            relative = isinstance(said, dict) and said.get("scores") == "relative"
            self._scale = "relative" if relative else "absolute"
        return self._scale


def _logits(answer: Any, count: int) -> Float32:
    rankings = answer["rankings"]
    places = [int(item["index"]) for item in rankings]
    if sorted(places) != list(range(count)):
        raise ValueError(f"{len(rankings)} rankings")
    logits = np.empty(count, np.float32)
    logits[places] = [float(item["logit"]) for item in rankings]
    if not np.isfinite(logits).all():
        raise ValueError("a logit is not finite")
    return logits
