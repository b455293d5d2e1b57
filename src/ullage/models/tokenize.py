"""Text to token ids, by the model's own tokenizer file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import tokenizers

from ullage.errors import ModelCorrupt


@dataclass(frozen=True, slots=True)
class Tokens:
    """One sequence: `ids` and `types` [n] int32, `offsets` [n] (start, end) in characters.

    `segment` [n] is -1 for special tokens, 0 for the first text and 1 for the second of a pair. `cut` is how many
    tokens of the last text were dropped; `last` is that text's segment, of which no token need be left.
    """

    ids: npt.NDArray[np.int32]
    types: npt.NDArray[np.int32]
    segment: npt.NDArray[np.int8]
    offsets: tuple[tuple[int, int], ...]
    cut: int = 0
    last: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def special(self) -> npt.NDArray[np.bool_]:
        return self.segment < 0

    def cut_to(self, limit: int, keep: Literal["start", "end"] = "start") -> Tokens:
        """At most `limit` tokens: only the last text is cut, at its end (`keep="start"`) or its start.

        Special tokens and the first text of a pair always stay.
        """
        excess = len(self.ids) - limit
        if excess <= 0:
            return self
        body = np.flatnonzero(self.segment == self.last)
        dropped = body[max(0, len(body) - excess) :] if keep == "start" else body[:excess]
        stays = np.ones(len(self.ids), bool)
        stays[dropped] = False
        offsets = tuple(span for span, stay in zip(self.offsets, stays, strict=True) if stay)
        cut = self.cut + len(dropped)
        return Tokens(self.ids[stays], self.types[stays], self.segment[stays], offsets, cut, self.last)


class Tokenizer:
    """Thread-safe. Padding and truncation written into the file are switched off: length is our business."""

    def __init__(self, path: Path) -> None:
        try:
            self._inner = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception for any fault of the file
            raise ModelCorrupt(f"{path} is not a tokenizer file: {str(error).splitlines()[0]}") from None
        self._inner.no_padding()
        self._inner.no_truncation()

    def count(self, text: str) -> int:
        """Tokens of a text without special tokens."""
        return len(self._inner.encode(text, add_special_tokens=False).ids)

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Character spans of the tokens of a text, without special tokens."""
        return list(self._inner.encode(text, add_special_tokens=False).offsets)

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Lone texts with the model's special tokens, uncut."""
        return [_tokens(encoding, last=0) for encoding in self._inner.encode_batch(list(texts))]

    def encode_pairs(self, query: str, passages: Sequence[str]) -> list[Tokens]:
        """(query, passage) as the model's pair, uncut."""
        pairs = self._inner.encode_batch([(query, passage) for passage in passages])
        return [_tokens(encoding, last=1) for encoding in pairs]


def _tokens(encoding: tokenizers.Encoding, last: int) -> Tokens:
    special = np.asarray(encoding.special_tokens_mask, bool)
    segment = np.asarray([-1 if s is None else s for s in encoding.sequence_ids], np.int8)
    segment[special] = -1
    return Tokens(
        ids=np.asarray(encoding.ids, np.int32),
        types=np.asarray(encoding.type_ids, np.int32),
        segment=segment,
        offsets=tuple(encoding.offsets),
        last=last,
    )
