"""Text to token ids, by the model's own tokenizer file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import tokenizers

from ullage.errors import ModelCorrupt
from ullage.models.card import Card

QUERY, PASSAGE = "{query}", "{passage}"
PIECE_CHARACTERS = 65_536
"""Texts encoded in one call. 512 passages of 512 tokens take 13 MiB by pieces and 126 at once, 0.33 s and 0.28."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """One sequence: `ids` and `types` [n] int32, `offsets` [n, 2] int32: start and end in characters.

    `segment` [n] is -1 for special tokens and for those of a template or prefix, 0 for the first text and 1 for the
    second of a pair. `cut` is how many tokens of the last text were dropped; `last` is that text's segment, of which no
    token need be left.
    """

    ids: npt.NDArray[np.int32]
    types: npt.NDArray[np.int32]
    segment: npt.NDArray[np.int8]
    offsets: npt.NDArray[np.int32]
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
        cut = self.cut + len(dropped)
        return Tokens(self.ids[stays], self.types[stays], self.segment[stays], self.offsets[stays], cut, self.last)

    @property
    def spans(self) -> list[tuple[int, int]]:
        """`offsets` as pairs."""
        return [(int(start), int(end)) for start, end in self.offsets]


class Tokenizer:
    """Thread-safe. Padding and truncation written into the file are switched off: length is our business.

    `template` is for models that read query and passage as one text: it holds {query} once, then {passage} once.
    Empty: the two are the model's own pair. Raises ModelCorrupt for a file that is none.
    """

    def __init__(self, path: Path, template: str = "") -> None:
        try:
            self._inner = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception for any fault of the file
            raise ModelCorrupt(f"{path} is not a tokenizer file: {str(error).splitlines()[0]}") from None
        self._inner.no_padding()
        self._inner.no_truncation()
        self._template = _split(template) if template else None

    @classmethod
    def of(cls, card: Card, path: Path) -> Tokenizer:
        """The tokenizer of a card's model, which lays out pairs as the card says."""
        return cls(path, card.template if card.joins_texts else "")

    def count(self, text: str) -> int:
        """Tokens of a text without special tokens."""
        return len(self._inner.encode(text, add_special_tokens=False).ids)

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Character spans of the tokens of a text, without special tokens."""
        return list(self._inner.encode(text, add_special_tokens=False).offsets)

    def encode(self, texts: Sequence[str], prefix: str = "") -> list[Tokens]:
        """Lone texts after `prefix`, with the model's special tokens, uncut. Offsets count from the prefix's start;
        its tokens are never cut."""
        def made(encoding: tokenizers.Encoding, text: str) -> Tokens:
            if not prefix:
                return _tokens(encoding, last=0)
            return _joined(encoding, {0: (len(prefix), len(prefix) + len(text))}, last=0)

        return self._encode([prefix + text for text in texts], texts, made)

    def encode_pairs(self, query: str, passages: Sequence[str]) -> list[Tokens]:
        """(query, passage) as the model reads them, uncut: its own pair, or one text by the template.

        One text is encoded whole, so that tokens across a seam are those of the whole text. A token that reaches into
        the template or the query counts as theirs.
        """
        if self._template is None:
            pairs = [(query, passage) for passage in passages]
            return self._encode(pairs, passages, lambda encoding, _: _tokens(encoding, last=1))
        before, between, after = self._template
        head = before + query + between
        asked = (len(before), len(before) + len(query))

        def made(encoding: tokenizers.Encoding, passage: str) -> Tokens:
            return _joined(encoding, {0: asked, 1: (len(head), len(head) + len(passage))}, last=1)

        return self._encode([head + passage + after for passage in passages], passages, made)

    def _encode(
        self, inputs: Sequence[str | tuple[str, str]], texts: Sequence[str],
        made: Callable[[tokenizers.Encoding, str], Tokens],
    ) -> list[Tokens]:
        """Piece by piece: what the library keeps of a text is fifty times its size, and need not be there at once."""
        found: list[Tokens] = []
        begin = size = 0
        for end, text in enumerate(texts, 1):
            size += len(text)
            if size >= PIECE_CHARACTERS or end == len(texts):
                encodings = self._inner.encode_batch(inputs[begin:end])
                found += [made(*each) for each in zip(encodings, texts[begin:end], strict=True)]
                begin, size = end, 0
        return found


def _split(template: str) -> tuple[str, str, str]:
    """What stands before, between and after the two texts."""
    before, query, rest = template.partition(QUERY)
    between, passage, after = rest.partition(PASSAGE)
    if not query or not passage or QUERY in between + after or PASSAGE in before + after:
        raise ModelCorrupt(f"template {template!r} is not one {QUERY} followed by one {PASSAGE}")
    return before, between, after


def _tokens(encoding: tokenizers.Encoding, last: int) -> Tokens:
    special = np.asarray(encoding.special_tokens_mask, bool)
    segment = np.asarray([-1 if s is None else s for s in encoding.sequence_ids], np.int8)
    segment[special] = -1
    return _made(encoding, segment, last)


def _joined(encoding: tokenizers.Encoding, spans: dict[int, tuple[int, int]], last: int) -> Tokens:
    """One text whose parts are told by their character spans; what is in none of them is template."""
    offsets = np.asarray(encoding.offsets, np.int64).reshape(-1, 2)
    added = np.asarray(encoding.special_tokens_mask, bool)
    segment = np.full(len(offsets), -1, np.int8)
    for part, (start, end) in spans.items():
        segment[(offsets[:, 0] >= start) & (offsets[:, 1] <= end) & (end > start) & ~added] = part
    return _made(encoding, segment, last)


def _made(encoding: tokenizers.Encoding, segment: npt.NDArray[np.int8], last: int) -> Tokens:
    return Tokens(
        ids=np.asarray(encoding.ids, np.int32),
        types=np.asarray(encoding.type_ids, np.int32),
        segment=segment,
        offsets=np.asarray(encoding.offsets, np.int32).reshape(-1, 2),
        last=last,
    )
