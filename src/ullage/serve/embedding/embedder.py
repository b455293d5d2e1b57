"""The embedding service's engine in this process: `from ullage import Embedder`."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from ullage.engines.base import Float32
from ullage.errors import InvalidRequest
from ullage.serve.embedding.vectors import InputType, Truncate, embed
from ullage.serve.inprocess import LocalEncoder


class Embedder:
    """Load an embedding model within `memory` (bytes, or text such as "700MiB"; None: what is free, less a headroom).

    `model` is a card name or a folder with a checkpoint; None is the bundled one. Raises DoesNotFit, ModelNotFound or
    SettingsError. Thread-safe; use as a context manager or call `close`.
    """

    def __init__(
        self, model: str | None = None, *, memory: int | str | None = None, threads: int | None = None
    ) -> None:
        self._local = LocalEncoder("embedding", model, memory, threads)

    @property
    def dimensions(self) -> int:
        return self._local.encoder.card.shape.hidden

    def embed(
        self, texts: Sequence[str], *, input_type: InputType = "passage", truncate: Truncate = "END"
    ) -> Float32:
        """Vectors [n, dimensions] fp32. Raises InvalidRequest for no texts or a blank one, TooLong with "NONE"."""
        if isinstance(texts, str) or not texts:
            raise InvalidRequest(f"texts is {texts!r}: give a list of at least one text")
        for index, text in enumerate(texts):
            if not text.strip():
                raise InvalidRequest(f"texts[{index}] is blank: give a text")
        return self._local.wait(embed(self._local.encoder, texts, truncate, input_type)).rows

    def close(self) -> None:
        """Give the memory back. Idempotent."""
        self._local.close()

    def __enter__(self) -> Embedder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
