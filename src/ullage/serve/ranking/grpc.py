"""The ranking model over KServe v2: tensors `query` and `passage` in, `index`, `logit` and `token_count` out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import numpy as np

from ullage.errors import InvalidRequest
from ullage.http.grpc.model import Inferred, Parameters, Tensor
from ullage.serve.ranking.fit import Truncate
from ullage.serve.ranking.schema import MAX_PASSAGES
from ullage.serve.ranking.service import RankingService


class RankingModel:
    """Rows of one call are passages for one query, which stands in every row."""

    inputs: ClassVar = (Tensor("query", "BYTES", (1,)), Tensor("passage", "BYTES", (1,)))
    outputs: ClassVar = (
        Tensor("index", "INT32", (1,)), Tensor("logit", "FP32", (1,)), Tensor("token_count", "INT32", ())
    )
    max_batch_size = MAX_PASSAGES

    def __init__(self, service: RankingService) -> None:
        self._service = service
        self.names = service.names
        self.health = service.health
        self.revision = service.card.revision

    async def infer(self, texts: Mapping[str, Sequence[str]], parameters: Parameters) -> Inferred:
        """Indices and logits best first; token counts in the order of the request."""
        truncate = _truncate(parameters)
        queries, passages = texts["query"], texts["passage"]
        other = next((row for row, query in enumerate(queries) if query != queries[0]), None)
        if other is not None:
            raise InvalidRequest(f"input query differs in row {other}: one call ranks the passages of one query")
        if not queries[0].strip():
            raise InvalidRequest("input query must hold more than white space")
        scores = await self._service.score(queries[0], passages, truncate)
        order = np.asarray(scores.order(), np.int32)
        cut = sum(count > 0 for count in scores.cut)
        return Inferred(
            outputs={
                "index": order[:, None],
                "logit": scores.logits[order].astype(np.float32)[:, None],
                "token_count": np.asarray(scores.tokens, np.int32),
            },
            parameters={"model_revision": self.revision, "truncated": cut},
            rows=len(passages),
            queue_s=scores.queue_s,
            compute_s=scores.compute_s,
        )


def _truncate(parameters: Parameters) -> Truncate:
    """The only parameter there is; either case, as NVIDIA's own samples have both."""
    for name, value in parameters.items():
        if name != "truncate":
            raise InvalidRequest(f"parameter {name!r}: this model takes truncate alone")
        if str(value).upper() not in ("NONE", "END"):
            raise InvalidRequest(f"truncate={value!r}: it is NONE or END")
    return cast("Truncate", str(parameters.get("truncate", "NONE")).upper())
