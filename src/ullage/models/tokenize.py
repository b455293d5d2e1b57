"""Text to token ids, by the model's own tokenizer file."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
import tokenizers

from ullage.errors import ModelCorrupt
from ullage.models.card import Card

N = TypeVar("N", np.int8, np.int32)
Parts = Mapping[int, tuple[int, int]]
"""Segment -> its first character and the one after its last, where one text holds several."""

QUERY, PASSAGE = "{query}", "{passage}"
PIECE_CHARACTERS = 65_536
"""Texts encoded in one call. 512 passages of 512 tokens take 13 MiB by pieces and 126 at once, 0.33 s and 0.28."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """One sequence: `ids` and `types` [n] int32, `offsets` [n, 2] int32: start and end in characters, or zeros.

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

    def encode(self, texts: Sequence[str], prefix: str = "", *, offsets: bool = True) -> list[Tokens]:
        """Lone texts after `prefix`, with the model's special tokens, uncut. Offsets count from the prefix's start;
        its tokens are never cut. Without `offsets` they are all zero, which is far cheaper."""
        wholes = [prefix + text for text in texts] if prefix else texts
        parts = [{0: (len(prefix), len(whole))} for whole in wholes] if prefix else None
        return self._encode(wholes, parts, last=0, offsets=offsets)

    def encode_pairs(self, query: str, passages: Sequence[str], *, offsets: bool = False) -> list[Tokens]:
        """(query, passage) as the model reads them, uncut: its own pair, or one text by the template.

        One text is encoded whole, so that tokens across a seam are those of the whole text. A token that reaches into
        the template or the query counts as theirs. Without `offsets` they are all zero.
        """
        if self._template is None:
            return self._encode([(query, passage) for passage in passages], None, last=1, offsets=offsets)
        before, between, after = self._template
        head = before + query + between
        asked = (len(before), len(before) + len(query))
        return self._encode(
            [head + passage + after for passage in passages],
            [{0: asked, 1: (len(head), len(head) + len(passage))} for passage in passages],
            last=1, offsets=offsets,
        )

    def _encode(
        self, inputs: Sequence[str | tuple[str, str]], parts: Sequence[Parts] | None, *, last: int, offsets: bool
    ) -> list[Tokens]:
        """Piece by piece: what the library keeps of a text is fifty times its size, and need not be there at once.

        Without `parts` and `offsets` nobody asks where a token stood, and the library need not follow it.
        """
        encode = self._inner.encode_batch if parts or offsets else self._inner.encode_batch_fast
        found: list[Tokens] = []
        begin = size = 0
        for end, text in enumerate(inputs, 1):
            size += len(text) if isinstance(text, str) else len(text[0]) + len(text[1])
            if size >= PIECE_CHARACTERS or end == len(inputs):
                encodings = encode(inputs[begin:end])
                frame = Frame.of(max(encodings, key=len), 0 if parts else last)
                spans = parts[begin:end] if parts else [{}] * len(encodings)
                found += [frame.tokens(*each, last, offsets) for each in zip(encodings, spans, strict=True)]
                begin, size = end, 0
        return found


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around the last text in every encoding of one call: a first text and special tokens.

    Learned from the longest encoding, since the library makes Python objects of every token it tells about, and none
    of the other threads of the process runs meanwhile: 26 ms of such time for 100 passages of 290 tokens, 8 this way.
    """

    before: npt.NDArray[np.int8]
    after: npt.NDArray[np.int8]
    body: int
    types_before: npt.NDArray[np.int32]
    types_after: npt.NDArray[np.int32]
    type: int

    @classmethod
    def of(cls, longest: tokenizers.Encoding, body: int) -> Frame:
        """`body` is the place of the last text among those encoded together."""
        segment = np.asarray([-1 if s is None else s for s in longest.sequence_ids], np.int8)
        segment[np.asarray(longest.special_tokens_mask, bool)] = -1
        types = np.asarray(longest.type_ids, np.int32)
        places = np.flatnonzero(segment == body)
        if not len(places):  # and none in a shorter one
            return cls(segment, segment[:0], body, types, types[:0], 0)
        first, end = places[0], places[-1] + 1
        return cls(segment[:first], segment[end:], body, types[:first], types[end:], int(types[first]))

    def tokens(self, encoding: tokenizers.Encoding, parts: Parts, last: int, offsets: bool) -> Tokens:
        """The tokens of one encoding: its last text, or that text taken apart by `parts`."""
        count = len(encoding)
        segment = self._framed(count, self.before, self.body, self.after)
        if parts:
            inner = range(len(self.before), count - len(self.after))
            segment[inner.start : inner.stop] = -1
            for part, span in parts.items():
                segment[_inside(encoding, inner, span)] = part
        return Tokens(
            ids=np.asarray(encoding.ids, np.int32),
            types=self._framed(count, self.types_before, self.type, self.types_after),
            segment=segment,
            offsets=_offsets(encoding) if offsets else np.broadcast_to(np.int32(0), (count, 2)),
            last=last,
        )

    @staticmethod
    def _framed(count: int, before: npt.NDArray[N], value: int, after: npt.NDArray[N]) -> npt.NDArray[N]:
        found = np.full(count, value, before.dtype)
        found[: len(before)] = before
        found[count - len(after) :] = after
        return found


def _inside(encoding: tokenizers.Encoding, inner: range, span: tuple[int, int]) -> slice:
    """The tokens of `inner` that lie wholly within some characters. Tokens are in the order of their text."""
    start, end = span
    if end <= start:
        return slice(0, 0)

    def edges(place: int) -> tuple[int, int]:
        found = encoding.token_to_chars(place)
        assert found is not None
        return found

    first = bisect_left(inner, start, key=lambda place: edges(place)[0])
    stop = bisect_right(inner, end, key=lambda place: edges(place)[1])
    return slice(inner.start + first, inner.start + stop)


def _offsets(encoding: tokenizers.Encoding) -> npt.NDArray[np.int32]:
    flat = np.fromiter(chain.from_iterable(encoding.offsets), np.int32, 2 * len(encoding))
    return flat.reshape(-1, 2)


def _split(template: str) -> tuple[str, str, str]:
    """What stands before, between and after the two texts."""
    before, query, rest = template.partition(QUERY)
    between, passage, after = rest.partition(PASSAGE)
    if not query or not passage or QUERY in between + after or PASSAGE in before + after:
        raise ModelCorrupt(f"template {template!r} is not one {QUERY} followed by one {PASSAGE}")
    return before, between, after
