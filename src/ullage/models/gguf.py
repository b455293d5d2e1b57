"""The header of a GGUF file, read with bounds, and the card it makes. No weight is read and nothing is trusted: every
count is held against the file's size before anything is taken for it.

The format is that of the GGUF specification, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ullage.errors import ModelCorrupt, ModelNotFound, ModelUnsupported
from ullage.models.card import Card, LocalFile, ModelFile
from ullage.models.files import sha256_once
from ullage.models.shape import Precision, Shape

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_PAIRS = 65_536
MAX_TENSORS = 1_000_000
MAX_KEY_BYTES = 65_535
MAX_TEXT_BYTES = 16 << 20
MAX_KEPT = 4_096
"""Values of one array that are kept; the vocabulary's 100,000 words are only counted."""

NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
TEXT, ARRAY = 8, 9

FILE_TYPES: dict[int, Precision] = {
    0: "fp32", 1: "fp16", 2: "q4_0", 3: "q4_1", 7: "q8_0", 8: "q5_0", 9: "q5_1", 10: "q2_k", 11: "q3_k_s",
    12: "q3_k_m", 13: "q3_k_l", 14: "q4_k_s", 15: "q4_k_m", 16: "q5_k_s", 17: "q5_k_m", 18: "q6_k", 32: "bf16",
}  # fmt: skip
"""general.file_type -> precision; the rest is `other`."""

BLOCKS: dict[int, tuple[int, int]] = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2),
    34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip
"""ggml tensor type -> (weights, bytes) of one block."""

NOT_TEXT = ("bert", "nomic-bert", "jina-bert-v2", "clip", "t5encoder", "whisper", "wavtokenizer-dec")
PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")


@dataclass(frozen=True, slots=True)
class Header:
    """Pairs of the header (of long arrays the head, and their length under `KEY#`), the weights of its tensors, and
    whether an output matrix of its own is among them."""

    pairs: dict[str, Any]
    weights: int
    has_output: bool


def card_from_gguf(path: Path) -> Card:
    """The card of the LLM in `path`, which may be the first of several parts.

    Raises ModelNotFound, ModelCorrupt or ModelUnsupported, one line each.
    """
    whole = path.absolute()
    parts = _parts(whole)
    headers = [read_header(part) for part in parts]
    pairs = headers[0].pairs
    architecture = _word(whole, pairs, "general.architecture")
    kind = str(pairs.get("general.type") or "model")
    if architecture in NOT_TEXT or kind != "model":
        raise ModelUnsupported(f"{path} is a {architecture} {kind}: llm_model is a language model that writes text")
    shape = _shape(whole, architecture, pairs, tied=not any(header.has_output for header in headers))
    count = sum(header.weights for header in headers)
    return Card(
        name=whole.name.removesuffix(".gguf"),
        aliases=tuple(dict.fromkeys((str(path), str(whole)))),
        role="llm",
        kind="llm",
        family="decoder",
        backends=("llama.cpp",),
        precision=FILE_TYPES.get(int(pairs.get("general.file_type", -1)), "other"),
        description=f"{pairs.get('general.name') or architecture} of {count / 1e9:.2f} billion weights, from {path}.",
        licence=str(pairs.get("general.license") or "as stated by whoever published the file"),
        shape=shape,
        stated_parameters=count,
        max_sequence=shape.positions,
        attention="causal",
        pooling="none",
        files=tuple(_file(part) for part in parts),
    )


def read_header(path: Path) -> Header:
    """Pairs and tensors of one file. Raises ModelNotFound, or ModelCorrupt also when the file is shorter than its
    tensors."""
    try:
        with path.open("rb") as stream:
            return _read(_Reader(path, stream))
    except FileNotFoundError:
        raise ModelNotFound(f"no GGUF file at {path}") from None
    except IsADirectoryError:
        raise ModelUnsupported(f"{path} is a folder: llm_model is the path of one GGUF file") from None
    except OSError as error:
        raise ModelNotFound(f"{path} cannot be read: {error.strerror or error}") from None


class _Reader:
    """Numbers and texts from a file, none of them longer than what is left of it."""

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self.path = path
        self._stream = stream
        self._size = path.stat().st_size

    def fault(self, said: str) -> ModelCorrupt:
        return ModelCorrupt(f"{self.path} is not a whole GGUF file: {said}")

    @property
    def place(self) -> int:
        return self._stream.tell()

    @property
    def size(self) -> int:
        return self._size

    def take(self, count: int) -> bytes:
        found = self._stream.read(count) if count <= self._size - self.place else b""
        if len(found) != count:
            raise self.fault(f"it ends at byte {self._size}, inside its header")
        return found

    def number(self, code: str) -> Any:
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def length(self, what: str, limit: int) -> int:
        found = int(self.number("<Q"))
        if found > limit:
            raise self.fault(f"it counts {found} {what}, {limit} is the limit")
        return found

    def text(self, limit: int = MAX_TEXT_BYTES) -> str:
        return self.take(self.length("bytes of text", limit)).decode("utf-8", "replace")

    def skip(self, count: int) -> None:
        if count > self._size - self.place:
            raise self.fault(f"it ends at byte {self._size}, inside its header")
        self._stream.seek(count, 1)


def _read(reader: _Reader) -> Header:
    magic = reader.take(4) if reader.size >= 4 else b""
    if magic != MAGIC:
        raise reader.fault(f"it begins with {magic!r}, not with {MAGIC!r}")
    version = reader.number("<I")
    if version not in VERSIONS:
        raise reader.fault(f"it is of version {version}, read are {' and '.join(map(str, VERSIONS))}")
    tensors = reader.length("tensors", MAX_TENSORS)
    pairs: dict[str, Any] = {}
    for _ in range(reader.length("pairs", MAX_PAIRS)):
        key = reader.text(MAX_KEY_BYTES)
        pairs[key] = _value(reader, pairs, key, int(reader.number("<I")))
    weights, end, has_output = 0, 0, False
    for name, count, last in _tensors(reader, tensors):
        weights += count
        end = max(end, last)
        has_output |= name == "output.weight"
    alignment = pairs.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20:
        raise reader.fault(f"it aligns its tensors to {alignment!r} bytes")
    begins = math.ceil(reader.place / alignment) * alignment
    if begins + end > reader.size and tensors:
        raise reader.fault(f"it has {reader.size} bytes, its tensors end at byte {begins + end}: fetch it again")
    return Header(pairs, weights, has_output)


def _value(reader: _Reader, pairs: dict[str, Any], key: str, kind: int) -> Any:
    if kind == TEXT:
        return reader.text()
    if kind in NUMBERS:
        return reader.number(NUMBERS[kind])
    if kind != ARRAY:
        raise reader.fault(f"{key[:80]!r} has a value of type {kind}")
    inner = int(reader.number("<I"))
    count = int(reader.number("<Q"))
    smallest = 8 if inner == TEXT else struct.calcsize(NUMBERS.get(inner, "<B"))
    if inner not in NUMBERS and inner != TEXT:
        raise reader.fault(f"{key[:80]!r} is an array of type {inner}")
    if count > (reader.size - reader.place) // smallest:
        raise reader.fault(f"{key[:80]!r} counts {count} values, more than the file holds")
    pairs[f"{key}#"] = count
    if inner == TEXT:
        for _ in range(count):
            reader.skip(reader.length("bytes of text", MAX_TEXT_BYTES))
        return None
    kept = [reader.number(NUMBERS[inner]) for _ in range(min(count, MAX_KEPT))]
    reader.skip((count - len(kept)) * smallest)
    return kept


def _tensors(reader: _Reader, count: int) -> Iterator[tuple[str, int, int]]:
    """(name, weights, end of its bytes after the start of the data) of each tensor; an unknown type counts no bytes."""
    for _ in range(count):
        name = reader.text(MAX_KEY_BYTES)
        axes = int(reader.number("<I"))
        if not 1 <= axes <= 8:
            raise reader.fault(f"tensor {name[:80]!r} has {axes} axes")
        weights = math.prod(int(reader.number("<Q")) for _ in range(axes))
        kind, offset = int(reader.number("<I")), int(reader.number("<Q"))
        per_block, block = BLOCKS.get(kind, (1, 0))
        last = offset + math.ceil(weights / per_block) * block if weights < 1 << 50 else 1 << 63
        if last > reader.size:
            raise reader.fault(f"it has {reader.size} bytes, tensor {name[:80]!r} ends {last} after its data begins: "
                               "fetch it again")
        yield name, weights, last


def _shape(path: Path, architecture: str, pairs: dict[str, Any], *, tied: bool) -> Shape:
    """The header's numbers; where they differ by layer, the largest."""

    def largest(name: str, default: int | None = None) -> int:
        found = pairs.get(f"{architecture}.{name}", default)
        values = [n for n in (found if isinstance(found, list) else [found]) if isinstance(n, int) and n > 0]
        if not values or max(values) > 1 << 31:
            raise ModelCorrupt(f"{path} has {architecture}.{name}={found!r}: a whole number above 0 is wanted")
        return max(values)

    hidden, heads = largest("embedding_length"), largest("attention.head_count")
    vocabulary = pairs.get("tokenizer.ggml.tokens#") or pairs.get(f"{architecture}.vocab_size")
    if not isinstance(vocabulary, int) or vocabulary < 1:
        raise ModelCorrupt(f"{path} has no tokenizer.ggml.tokens and no {architecture}.vocab_size")
    return Shape(
        hidden=hidden,
        layers=largest("block_count"),
        heads=heads,
        kv_heads=largest("attention.head_count_kv", heads),
        head_dim=largest("attention.key_length", max(1, hidden // heads)),
        ffn=largest("feed_forward_length", largest("expert_feed_forward_length", 4 * hidden)),
        vocab=vocabulary,
        positions=largest("context_length"),
        tied_head=tied,
    )


def _word(path: Path, pairs: dict[str, Any], key: str) -> str:
    found = pairs.get(key)
    if not isinstance(found, str) or not found:
        raise ModelCorrupt(f"{path} has no {key} in its header")
    return found


def _parts(path: Path) -> tuple[Path, ...]:
    """The file, or all parts of the model it is the first of."""
    match = PART.fullmatch(path.name)
    if match is None:
        return (path,)
    stem, number, count = match.group(1), int(match.group(2)), int(match.group(3))
    if number != 1:
        raise ModelUnsupported(f"{path} is part {number} of {count}: give the first one")
    parts = tuple(path.with_name(f"{stem}-{n:05}-of-{count:05}.gguf") for n in range(1, count + 1))
    for part in parts:
        if not part.is_file():
            raise ModelNotFound(f"{part}, a part of {path.name}, is not there")
    return parts


def _file(path: Path) -> ModelFile:
    return ModelFile(role="weights", sha256=sha256_once(path), size=path.stat().st_size,
                     source=LocalFile(path=str(path)))
