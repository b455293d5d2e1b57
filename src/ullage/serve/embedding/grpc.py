"""The embedding model over KServe v2: `text` in, `token_count` and `embeddings` out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast, get_args

import numpy as np

from ullage.errors import InvalidRequest
from ullage.http.grpc.model import Inferred, Parameters, Tensor
from ullage.serve.embedding.schema import EmbeddingType
from ullage.serve.embedding.service import EmbeddingService
from ullage.serve.embedding.shape import as_type, cut_to, wanted_dimensions
from ullage.serve.embedding.vectors import InputType, Truncate

ROWS = 2048
"""Of one call. Batches for the engine are cut by the scheduler; this only bounds one message's work."""

PARAMETERS = ("input_type", "truncate", "dimensions", "embedding_type")


class EmbeddingModel:
    """`modality` may stand beside the texts, and is `text` in every row."""

    inputs: ClassVar = (Tensor("text", "BYTES", (1,)), Tensor("modality", "BYTES", (1,), optional=True))
    max_batch_size = ROWS

    def __init__(self, service: EmbeddingService) -> None:
        self._service = service
        self.names = service.names
        self.health = service.health
        self.revision = service.card.revision
        self.outputs = (Tensor("token_count", "INT32", ()), Tensor("embeddings", "FP32", (service.card.shape.hidden,)))

    async def infer(self, texts: Mapping[str, Sequence[str]], parameters: Parameters) -> Inferred:
        """Token counts [n] and embeddings [n, dimensions], in the order of the request."""
        for row, modality in enumerate(texts.get("modality", ())):
            if modality != "text":
                raise InvalidRequest(f"modality, row {row}, is {modality!r}: this model embeds text")
        for name in parameters:
            if name not in PARAMETERS:
                raise InvalidRequest(f"parameter {name!r}: this model takes {', '.join(PARAMETERS)}")
        card = self._service.card
        kind = cast("EmbeddingType", _one_of(parameters, "embedding_type", "float", get_args(EmbeddingType)))
        dimensions = wanted_dimensions(_whole(parameters.get("dimensions")), card)
        as_type(np.empty((0, dimensions), np.float32), kind, card)  # refuses before it computes
        input_type = cast("InputType", _one_of(parameters, "input_type", "query", ("query", "passage")))
        truncate = cast("Truncate", _one_of(parameters, "truncate", "NONE", ("NONE", "START", "END")))
        vectors = await self._service.embed(texts["text"], truncate, input_type)
        rows = as_type(cut_to(vectors.rows, dimensions, normalize=card.normalize), kind, card)
        return Inferred(
            outputs={"token_count": np.asarray(vectors.tokens, np.int32), "embeddings": rows},
            parameters={"model_revision": self.revision, "truncated": sum(count > 0 for count in vectors.cut)},
            rows=len(vectors.tokens),
            queue_s=vectors.queue_s,
            compute_s=vectors.compute_s,
        )


def _one_of(parameters: Parameters, name: str, default: str, choices: Sequence[str]) -> str:
    """A parameter in either case."""
    asked = str(parameters.get(name, default))
    for choice in choices:
        if asked.lower() == choice.lower():
            return choice
    raise InvalidRequest(f"{name}={asked!r}: it is one of {', '.join(choices)}")


def _whole(value: bool | int | float | str | None) -> int | None:
    if value is None:
        return None
    try:
        return int(value)
    except (ValueError, OverflowError):
        raise InvalidRequest(f"dimensions={value!r}: give a whole number") from None
